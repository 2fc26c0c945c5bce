# Each target is a thin call of a script; the scripts install what is missing on Debian and Ubuntu.
.PHONY: help demo test test-install test-matrix test-at-length lint bench image

help:
	@echo "make demo            play the whole story on a private PostgreSQL server, each step checked"
	@echo "make test            run every test, on real PostgreSQL servers, AWS emulators and everything it is installed with"
	@echo "make test-install    of these, image, CloudFormation, Terraform and Helm alone"
	@echo "make test-matrix     the tests that have a server, on PostgreSQL 13 to 18"
	@echo "make test-at-length  what happens rarely, a hundred times; takes half an hour"
	@echo "make lint            format, lints, documentation, scripts, dependencies"
	@echo "make bench           measure against plain SQL"
	@echo "make image           build the image on a base made here, and run what it holds; needs root"

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh
	@scripts/check-install.sh test

test-install:
	@scripts/check-install.sh test

test-matrix:
	@scripts/test-matrix.sh

test-at-length:
	@scripts/test.sh --features at-length --test it -- a_hundred_orders

lint:
	@scripts/lint.sh

bench:
	@scripts/bench.sh

image:
	@scripts/check-image.sh test
