# Makefile - the usual names for what scripts/ and CMake do.

PREFIX ?= /usr/local
BUILD = build/release

.PHONY: all test style format install clean

all:
	scripts/build

test:
	scripts/test

style:
	scripts/style-check

format:
	scripts/style-check --fix

install: all
	cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	rm -rf $(BUILD) build/debug build/asan build/tsan build/fuzz build/mutations
