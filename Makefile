# Every target sets up .venv first when it is missing or stale. On Windows: `py course.py lab`, `py course.py test`.
PYTHON ?= python3
LAB_ARGS ?=
ARGS ?=
NB ?=

.PHONY: help lab lecture test test-all book pdf links slides student run showdown marathon doctor lint

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

lab:  ## open the course in JupyterLab (LAB_ARGS="--no-browser" adds options)
	@$(PYTHON) course.py lab $(LAB_ARGS)

lecture:  ## the same for a lecture: training cells load the finished weights (LAB_ARGS as for lab)
	@$(PYTHON) course.py lecture $(LAB_ARGS)

doctor:  ## is this machine ready? one screen, with what to do about each failing line
	@$(PYTHON) course.py doctor

test:  ## prove that everything works: lint, unit tests, doctests, notebooks, book (ARGS="-n 4" for four cores)
	@$(PYTHON) course.py test $(ARGS)

test-all:  ## before a release: also what takes minutes, such as every notebook in JupyterLab
	@$(PYTHON) course.py test-all $(ARGS)

book:  ## build the online book into book/_build/html
	@$(PYTHON) course.py book

pdf:  ## print the online book into book/_build/pdf, one file a page (needs Chromium)
	@$(PYTHON) course.py pdf $(NB)

links:  ## list the links that lead out of the built book, and ask whether they answer (never fails)
	@$(PYTHON) course.py links

slides:  ## build a deck of slides for each notebook into book/_build/slides
	@$(PYTHON) course.py slides

student:  ## the notebooks without solutions, into book/_build/student
	@$(PYTHON) course.py student

run:  ## run one notebook and save its outputs: make run NB=02_gan
	@$(PYTHON) course.py run $(NB)

showdown:  ## the contest of 10_showdown: an hour on two cores, goes on where it was stopped (ARGS="--folder DIR")
	@$(PYTHON) course.py showdown $(ARGS)

marathon:  ## train every finished model, for hours; goes on where it was stopped (ARGS="--only DDPM", ARGS=--list)
	@$(PYTHON) course.py marathon $(ARGS)

lint:  ## ruff over library, tests and notebooks
	@$(PYTHON) course.py lint
