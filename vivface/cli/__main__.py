"""`python -m vivface.cli` is `vivface`."""

from vivface.cli.main import main

main()
