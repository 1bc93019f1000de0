#!/bin/bash
# One real Kafka broker (KRaft, Apache Kafka from Maven Central, every jar pinned by sha256), for trials and tests.
#
#   kafka.sh start [--port P] [--dir D]   start it, create Millrace's topics, print the address; a no-op when it runs
#   kafka.sh stop [--dir D]               end it and remove its data
#   kafka.sh status [--dir D]             print the address; exit 3 when it is down
#   kafka.sh jars                         fetch and verify the jars, print the class path
#   kafka.sh setup DIR PORT [CONTROLLER]  write DIR/server.properties (port 0: a free one)
#   kafka.sh run DIR [format arguments]   the broker in the foreground, with DIR from setup; KAFKA_OPTS reach the JVM
#   kafka.sh pin                          after a version change in pom.xml: write the new checksums
#
# The jars (44 MB) are cached a version, so that only the first start needs the network.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
maven_plugin=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies
ready_within_s=150 # a little more than Broker.java's own limit

say() { echo "kafka: $*" >&2; }
die() { say "$*"; exit 1; }

version=$(sed -n 's:^  <version>\(.*\)</version>$:\1:p' "$here/pom.xml")
cache=${MILLRACE_KAFKA_CACHE:-${XDG_CACHE_HOME:-${HOME:-$root/build}/.cache}/millrace/kafka-$version}

download() { # into the folder $1
	command -v mvn >/dev/null || die "mvn is missing: run ./dev deps kafka"
	say "fetching Apache Kafka $version from Maven Central"
	rm -rf "$1"
	mvn -q -B -f "$here/pom.xml" "$maven_plugin" -DoutputDirectory="$1" >&2 || die "the fetch failed"
}

# The folder holds exactly the jars of checksums: one more would be run unverified.
verify() { # the folder $1
	(cd "$1" 2>/dev/null && sha256sum --quiet --strict -c "$here/checksums" >&2) || return 1
	[ "$(find "$1" -type f | wc -l)" -eq "$(wc -l <"$here/checksums")" ]
}

jars() {
	command -v java >/dev/null || die "java is missing: run ./dev deps kafka"
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock 9
	if [ ! -d "$cache/jars" ] || ! verify "$cache/jars"; then
		download "$cache/jars.new"
		verify "$cache/jars.new" || die "checksums differ from deploy/kafka/checksums: not used"
		rm -rf "$cache/jars"
		mv "$cache/jars.new" "$cache/jars"
	fi
	local classes class_path
	class_path=$(printf '%s:' "$cache"/jars/*.jar)
	classes=$cache/classes-$(sha256sum <"$here/Broker.java" | cut -c 1-16)
	if [ ! -d "$classes" ]; then
		rm -rf "$classes.new"
		java -Xshare:auto -XX:TieredStopAtLevel=1 -m jdk.compiler/com.sun.tools.javac.Main -nowarn \
			-cp "$class_path" -d "$classes.new" "$here/Broker.java" >&2 ||
			die "Broker.java does not compile"
		mv "$classes.new" "$classes"
	fi
	exec 9>&-
	echo "$class_path$classes"
}

pin() {
	local folder
	folder=$(mktemp -d)
	download "$folder/jars"
	(cd "$folder/jars" && LC_ALL=C sha256sum -- *.jar) >"$here/checksums"
	rm -rf "$folder"
	say "$(wc -l <"$here/checksums") jars in deploy/kafka/checksums"
}

free_ports() { # prints $1 free ports
	/usr/bin/python3 - "$1" <<-'P'
	import socket, sys
	sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
	for s in sockets:
	    s.bind(("127.0.0.1", 0))
	print(*(s.getsockname()[1] for s in sockets))
	P
}

setup() {
	local dir=$1 port=$2 controller=${3:-0} one two
	read -r one two < <(free_ports 2)
	[ "$port" != 0 ] || port=$one
	[ "$controller" != 0 ] || controller=$two
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	sed -e "s|@DIR@|$dir|; s|@PORT@|$port|g; s|@CONTROLLER@|$controller|g" "$here/server.properties" \
		>"$dir/server.properties"
}

run() {
	local dir=$1 class_path options topics=$here/topics
	shift
	class_path=$(jars)
	rm -f "$dir/ready"
	[ ! -e "$dir/topics" ] || topics=$dir/topics
	read -r -a options <<<"${KAFKA_OPTS:-}"
	exec java -Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "${options[@]}" \
		-cp "$class_path" Broker "$dir/server.properties" "$topics" "$dir/ready" "$@"
}

# A pid alone may have been reused: it must be a JVM that runs our properties file.
running() { # the folder $1
	local pid
	pid=$(cat "$1/pid" 2>/dev/null) || return 1
	[ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$1/server.properties"
}

start() {
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	if running "$dir" && [ -s "$dir/ready" ]; then
		[ "$port" = 0 ] || [ "$(cat "$dir/ready")" = "127.0.0.1:$port" ] ||
			die "runs already, at $(cat "$dir/ready"): stop it first"
		cat "$dir/ready"
		return
	fi
	jars >/dev/null
	[ -f "$dir/server.properties" ] && [ "$port" = 0 ] || setup "$dir" "$port"
	touch "$dir/millrace-kafka" # stop deletes only a folder that start made
	rm -f "$dir/ready"
	setsid "$here/kafka.sh" run "$dir" </dev/null >"$dir/broker.log" 2>&1 &
	local pid=$! waited=0
	echo "$pid" >"$dir/pid"
	until [ -s "$dir/ready" ]; do
		if ! kill -0 "$pid" 2>/dev/null || [ "$waited" -ge $((ready_within_s * 10)) ]; then
			tail -n 20 "$dir/broker.log" >&2
			kill -9 "$pid" 2>/dev/null || true
			die "did not start; its log is $dir/broker.log"
		fi
		sleep 0.1
		waited=$((waited + 1))
	done
	cat "$dir/ready"
}

stop() {
	if [ ! -f "$dir/millrace-kafka" ]; then
		say "is not running"
		return
	fi
	dir=$(cd "$dir" && pwd)
	if running "$dir"; then
		# The data goes away with it: nothing is worth a clean shutdown.
		kill -9 "$(cat "$dir/pid")"
		while running "$dir"; do sleep 0.05; done
	fi
	rm -rf "$dir"
	say "stopped, data removed"
}

status() {
	if [ -d "$dir" ] && dir=$(cd "$dir" && pwd) && running "$dir" && [ -s "$dir/ready" ]; then
		cat "$dir/ready"
		return
	fi
	say "is not running"
	exit 3
}

verb=${1:-}
[ $# -eq 0 ] || shift
case $verb in
start | stop | status)
	port=0 dir=$root/build/kafka
	while [ $# -gt 0 ]; do
		case $1 in
		--port) port=${2:?--port needs a number}; shift 2 ;;
		--dir) dir=${2:?--dir needs a folder}; shift 2 ;;
		*) die "unknown argument $1" ;;
		esac
	done
	"$verb"
	;;
jars) jars ;;
setup) setup "${@:?setup DIR PORT [CONTROLLER]}" ;;
run) run "${@:?run DIR}" ;;
pin) pin ;;
*) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; [ "$verb" = help ] || exit 2 ;;
esac
