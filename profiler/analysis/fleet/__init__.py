"""Traces by the thousand: each becomes a row of facts, and rows are told apart by robust statistics."""
