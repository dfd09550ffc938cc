"""The cases of `WebmentionSuite`, `StorageSuite` and `OutboxSuite`, one file per idea."""
