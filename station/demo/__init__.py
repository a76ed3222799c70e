"""A demo day without a microscope: painted smear fields with exact truth, saved by a slow camera."""
