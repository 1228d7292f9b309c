"""The HTML report, and tables."""

from figures.report.page import write as write
