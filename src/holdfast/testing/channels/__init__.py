"""The cases of `ChannelsSuite`, one file per idea; `subject` is what they talk to."""
