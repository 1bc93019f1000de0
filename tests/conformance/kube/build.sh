#!/bin/bash
# Builds the API server of Kubernetes and its etcd from the Go module proxy, every module pinned by go.sum, for tests
# against the real ones: a minute for etcd, twelve of one processor for the API server, once.
#
#   build.sh         build what is missing; prints the folder of the programs
#   build.sh where   print the folder; exit 3 when a program is missing
#   build.sh pin     after a change of versions in go.mod: write the new checksums
#
# MILLRACE_KUBE_CACHE moves the folder. A Go of 1.22 or newer is used if there is one; else the pinned toolchain is
# fetched from the module proxy as well, which is where Go itself takes toolchains from.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
programs='etcd apiserver'
toolchain=v0.0.1-go1.23.12.linux-amd64
toolchain_sha256=7bf9a01c191c452bf1fa9266a547abe0e437ff46d16adc9ec55fcc4fea24c121

say() { echo "kube: $*" >&2; }
die() { say "$*"; exit 1; }

# Another version or build is another folder.
digest=$(cat "$here"/{etcd,apiserver}/{go.mod,go.sum,main.go} | sha256sum | cut -c 1-16)
cache=${MILLRACE_KUBE_CACHE:-${XDG_CACHE_HOME:-${HOME:-$root/build}/.cache}/millrace/kube}
bin=$cache/$digest

present() {
	local program
	for program in $programs; do
		[ -x "$bin/$program" ] || return 1
	done
}

go_of_1_22() { # whether $1 is one
	local version
	version=$("$1" env GOVERSION 2>/dev/null) || return 1
	[ "$(printf '%s\n' go1.22 "$version" | sort -V | head -n 1)" = go1.22 ]
}

fetch_toolchain() { # prints the program
	local folder=$cache/$toolchain
	if [ ! -x "$folder/bin/go" ]; then
		[ "$(uname -sm)" = 'Linux x86_64' ] || die "Go 1.22 or newer is missing: install it"
		say "fetching Go ${toolchain#*-go}"
		curl -fsSL --retry 3 -o "$cache/go.zip" "https://proxy.golang.org/golang.org/toolchain/@v/$toolchain.zip" ||
			die "the fetch failed"
		echo "$toolchain_sha256  $cache/go.zip" | sha256sum --quiet -c >&2 || die "the toolchain is another: not used"
		rm -rf "$cache/go.new"
		/usr/bin/python3 -m zipfile -e "$cache/go.zip" "$cache/go.new"
		chmod -R u+x "$cache/go.new/golang.org/toolchain@$toolchain"/{bin,pkg/tool}
		mv "$cache/go.new/golang.org/toolchain@$toolchain" "$folder"
		rm -rf "$cache/go.new" "$cache/go.zip"
	fi
	echo "$folder/bin/go"
}

build() {
	local go=go program
	mkdir -p "$bin"
	exec 9>"$cache/lock"
	flock 9
	! present || return 0
	go_of_1_22 go || go=$(fetch_toolchain)
	for program in $programs; do
		say "building $program"
		(cd "$here/$program" && GOTOOLCHAIN=local GOFLAGS=-mod=readonly nice "$go" build \
			${JOBS:+-p "$JOBS"} -trimpath -buildvcs=false -ldflags '-s -w' -o "$bin/$program.new" . >&2) ||
			die "$program does not build"
		mv "$bin/$program.new" "$bin/$program"
	done
}

case ${1:-build} in
build)
	build
	echo "$bin"
	;;
where)
	present || exit 3
	echo "$bin"
	;;
pin)
	for program in $programs; do
		(cd "$here/$program" && GOTOOLCHAIN=local go mod tidy)
	done
	;;
*) die "there is no verb $1" ;;
esac
