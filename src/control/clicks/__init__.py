"""Clicks: counted once each, by link, domain, tag and account, from the frames that edges send."""
