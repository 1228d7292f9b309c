"""One module per command: ``SUMMARY``, one line, and ``main(arguments) -> exit status``.

A module placed here is a command of its name. None may load torch, matplotlib or tyro before it
is called.
"""
