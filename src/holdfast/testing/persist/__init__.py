"""The cases of `PersistSuite`, one file per idea; `subject` is what they talk to."""
