"""The mark in pictures: not seen, found again after what happens to films on their way, and not where it is not."""

import numpy as np
import pytest

from tests.clips import portrait
from tests.provenance.media import cropped, encoded, film, jpeg, scaled, screenshot
from vivface.media import VideoReader, load_image
from vivface.provenance.detection import MOST_CHANCE, confirm_mark, find_mark, score_needed
from vivface.provenance.mark import SMALLEST, add_mark, pattern, waves

NUMBER = 0x1234ABCD


def peak_snr(first: np.ndarray, second: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2))


@pytest.fixture(scope="module")
def marked_film() -> list[np.ndarray]:
    return [add_mark(frame, NUMBER) for frame in film(512)]


class TestMarking:
    @pytest.mark.parametrize("size", [(512, 512), (256, 256), (128, 128), (300, 200), (200, 333)])
    def test_it_is_weak_everywhere(self, size):
        image = portrait()[: size[1], : size[0]]
        marked = add_mark(image, NUMBER)
        assert marked.dtype == np.uint8 and marked.shape == image.shape
        assert 42 < peak_snr(image, marked) < 50
        assert np.abs(marked.astype(int) - image).max() <= 12

    def test_it_is_weaker_in_flat_places(self):
        flat = np.full((256, 256, 3), 128, np.uint8)
        noisy = np.random.RandomState(0).randint(0, 256, (256, 256, 3)).astype(np.uint8)
        assert peak_snr(flat, add_mark(flat, 1)) > peak_snr(noisy, add_mark(noisy, 1)) + 2

    def test_black_and_white_stay_in_range(self):
        for level in (0, 255):
            image = np.full((96, 96, 3), level, np.uint8)
            assert np.abs(add_mark(image, 1).astype(int) - level).max() < 8

    def test_the_picture_itself_is_left_alone(self):
        image = portrait()
        before = image.copy()
        add_mark(image, NUMBER)
        assert np.array_equal(image, before)

    def test_it_is_the_same_every_time(self):
        assert np.array_equal(add_mark(portrait(), NUMBER), add_mark(portrait(), NUMBER))
        assert not np.array_equal(add_mark(portrait(), NUMBER), add_mark(portrait(), NUMBER + 1))

    def test_the_waves_are_those_of_published_files(self):
        """Another order of the waves would make the mark of older files unreadable."""
        found = waves()
        assert len(found.phases) == 800 and (found.bits < 0).sum() == 400
        assert np.round(found.phases[:3], 6).tolist() == [3.870869, 3.937377, 5.300935]
        assert list(zip(found.vertical[:3].tolist(), found.horizontal[:3].tolist(), strict=True)) == [
            (-2, 11),
            (0, 15),
            (17, 2),
        ]

    def test_small_pictures_carry_none(self):
        image = portrait()[: SMALLEST - 1, :100]
        assert add_mark(image, NUMBER) is image

    def test_the_pattern_has_unit_strength(self):
        for size in ((512, 512), (256, 200)):
            values = pattern(size, NUMBER)
            assert values.shape == size[::-1]
            assert abs(values.std() - 1) < 0.05 and abs(values.mean()) < 0.01


class TestFinding:
    @pytest.mark.parametrize("size", [(512, 512), (256, 256), (400, 256)])
    def test_a_picture(self, size):
        image = add_mark(portrait()[: size[1], : size[0]], NUMBER)
        finding = find_mark([image])
        assert finding.found and finding.identifier == NUMBER and not finding.mirrored
        assert abs(finding.period - 0.5) < 0.01

    def test_a_small_picture(self):
        for size in (128, SMALLEST):
            finding = find_mark([add_mark(frame, NUMBER) for frame in film(size)])
            assert finding.found and finding.identifier == NUMBER

    @pytest.mark.parametrize(
        "change",
        [
            lambda frames: encoded(frames, 23),
            lambda frames: encoded(frames, 28),
            lambda frames: [scaled(frame, 0.5) for frame in frames],
            lambda frames: [cropped(frame) for frame in frames],
            lambda frames: [jpeg(screenshot(frame), 85) for frame in frames[:1]],
            lambda frames: encoded([cropped(frame) for frame in frames], 28),
            lambda frames: [jpeg(frame, 70) for frame in frames[:1]],
            lambda frames: [(255 * (frame / 255) ** 1.2).astype(np.uint8) for frame in frames],
            lambda frames: [scaled(scaled(frame, 1.7), 0.4) for frame in frames],
        ],
        ids=["crf23", "crf28", "half", "crop", "screenshot", "crop-crf28", "jpeg70", "gamma", "rescaled"],
    )
    def test_after_changes(self, marked_film, change):
        finding = find_mark(change(marked_film))
        assert finding.found and finding.chance <= MOST_CHANCE
        assert finding.identifier in (NUMBER, None)

    def test_a_mirrored_picture(self):
        finding = find_mark([np.ascontiguousarray(add_mark(portrait(), NUMBER)[:, ::-1])])
        assert finding.found and finding.mirrored and finding.identifier == NUMBER

    def test_halves_of_two_marks_are_not_read_as_a_third(self):
        first, second = (add_mark(portrait(), number) for number in (1, 2))
        both = np.hstack([first[:, :256], second[:, 256:]])
        assert find_mark([both]).identifier in (1, 2, None)

    def test_the_score_that_is_needed(self):
        rest = np.random.RandomState(0).randint(0, 256, (256, 200, 3)).astype(np.uint8)
        assert 7.4 < score_needed((256, 256)) < 7.7 and 5.7 < score_needed((256, 256), number_read=True) < 6.1
        findings = []
        for part in (0, 0.3, 0.35, 0.4, 0.45, 0.5, 1):  # of a marked picture, in noise
            image = (part * add_mark(portrait()[:256, :200], NUMBER) + (1 - part) * rest).astype(np.uint8)
            findings.append(find_mark([image]))
        needed = [score_needed((200, 256), finding.identifier is not None) for finding in findings]
        assert [finding.found for finding in findings] == [f.score >= n for f, n in zip(findings, needed, strict=True)]

    def test_no_picture(self):
        with pytest.raises(ValueError, match="empty"):
            find_mark([])


class TestNoFalseAlarm:
    def test_unmarked_pictures(self):
        for image in (portrait(), film(256)[0], np.zeros((100, 100, 3), np.uint8), _noise(), _stripes()):
            finding = find_mark([image])
            assert not finding.found and finding.identifier is None

    @pytest.mark.parametrize("folder", ["sources", "driving"])
    def test_development_media(self, media_dir, folder):
        for path in sorted((media_dir / folder).iterdir()):
            if path.suffix == ".mp4":
                with VideoReader(path, max_frames=2) as reader:
                    images = [frame.image for frame in reader]
            else:
                images = [load_image(path)]
            finding = find_mark(images)
            assert not finding.found, path.name

    def test_the_chance_counts_all_searches(self):
        image = portrait()
        assert find_mark([image], searches=50).chance >= find_mark([image]).chance


class TestConfirming:
    def test_a_known_mark(self):
        marked = [add_mark(frame, NUMBER) for frame in film(128, 2)]
        assert confirm_mark(marked, NUMBER)
        assert not confirm_mark(film(128, 2), NUMBER)

    def test_beside_other_pictures(self):
        beside, frame = portrait()[:256, :300], film(256, 1)[0]
        assert confirm_mark([np.hstack([beside, add_mark(frame, NUMBER)])], NUMBER)
        assert not confirm_mark([np.hstack([beside, frame])], NUMBER)

    def test_unmarked_pictures_have_no_known_mark(self):
        assert not any(confirm_mark([portrait()], number) for number in range(20))


def _noise() -> np.ndarray:
    return np.random.RandomState(3).randint(0, 256, (240, 320, 3)).astype(np.uint8)


def _stripes() -> np.ndarray:
    rows, columns = np.mgrid[:256, :256]
    return np.repeat((127 + 120 * np.sin(rows / 3) * np.sin(columns / 5)).astype(np.uint8)[:, :, None], 3, axis=2)
