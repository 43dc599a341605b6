"""Advice as it is shown, with what trying it has measured."""
