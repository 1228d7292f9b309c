"""A figure for tests."""

RESULT = "fake_squares"
TITLE = "Squares"
ALT = "a line through the squares"
CAPTION = "They grow."
SIZE = (3.0, 2.0)
PANELS = (1, 1)
ORDER = 1


def draw(result, axes):
    axes.plot(result.array("squares"))
