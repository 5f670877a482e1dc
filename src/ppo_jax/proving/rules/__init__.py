"""Rules as a whole: mined, counted, weighed, and chained forward."""
