"""The run record: its dataclasses, schema validation, and atomic storage."""
