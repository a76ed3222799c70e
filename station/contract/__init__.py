"""What station and trainer must agree on: pixels in, cells out. Pure functions, no files kept open, no clock."""
