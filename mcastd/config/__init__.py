"""Configuration: TOML in, frozen structs out, or every error at once with its file, line and key."""
