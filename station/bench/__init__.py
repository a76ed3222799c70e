"""How fast this machine counts: every engine alone and end to end, beside the loop that one would write first."""
