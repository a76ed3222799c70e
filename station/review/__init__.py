"""The local web application: look at images as they come, correct and sign. Loads no model and needs no engine."""
