"""Whole collaborations of agents as LangGraph graphs; one file per builder, beside the steps and settings it needs."""
