"""What each part of the report says, taken from a record; no markup and no layout."""
