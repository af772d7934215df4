"""What a page needs beside the pipeline: limits, previews, sessions, jobs that can be cancelled, live driving."""
