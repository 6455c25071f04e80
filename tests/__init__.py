"""The tests: one behaviour each, on asyncio and trio where something waits."""
