"""The system measured on itself: what a graph adds, load, faults, bytes on links, start-up time. No benchmark data."""
