"""Smaller and faster: compaction, sparse layers, exports, a runtime."""
