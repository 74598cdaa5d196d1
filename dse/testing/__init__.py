"""Contract tests: classes that every catalogue entry and every plug-in must pass; subclass them and give the fixtures."""
