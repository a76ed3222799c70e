"""Trains, compares and exports the networks that a station runs. Meets the station at its `contract`."""
