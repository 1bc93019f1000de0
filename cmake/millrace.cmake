# The build's few verbs. Nothing here knows a file by name.
include(CheckSymbolExists)

macro(millrace_dependencies)
  find_package(PkgConfig REQUIRED)
  find_package(OpenSSL 3.0 REQUIRED)
  find_package(Threads REQUIRED)
  pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv>=1.44)
  pkg_check_modules(RDKAFKA REQUIRED IMPORTED_TARGET rdkafka>=2.0.2)
  pkg_check_modules(PROTOBUFC REQUIRED IMPORTED_TARGET libprotobuf-c>=1.4)
  pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)
  pkg_check_modules(LIBBPF REQUIRED IMPORTED_TARGET libbpf>=1.1)
  pkg_check_modules(LIBELF REQUIRED IMPORTED_TARGET libelf)
  pkg_check_modules(SECCOMP REQUIRED IMPORTED_TARGET libseccomp>=2.5)
  pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
  pkg_check_modules(NGHTTP2 REQUIRED IMPORTED_TARGET libnghttp2)
  pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
  pkg_check_modules(CJSON REQUIRED IMPORTED_TARGET libcjson)
  pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
  pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
  pkg_check_modules(MAXMINDDB REQUIRED IMPORTED_TARGET libmaxminddb)
  pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd) # benches: what Kafka makes of a record
  find_program(PROTOC_C protoc-c REQUIRED)
  find_program(PROTOC protoc REQUIRED)
  find_program(BPF_CLANG NAMES clang clang-14 clang-19 REQUIRED)
  find_program(LLVM_STRIP NAMES llvm-strip llvm-strip-14 llvm-strip-19 REQUIRED)

  # Debian 13 has llhttp, Debian 12 its predecessor http_parser; api/http/parser.h speaks to either.
  add_library(HttpParser::HttpParser INTERFACE IMPORTED)
  find_library(LLHTTP_LIBRARY llhttp)
  find_path(LLHTTP_INCLUDE llhttp.h)
  if(LLHTTP_LIBRARY AND LLHTTP_INCLUDE)
    target_link_libraries(HttpParser::HttpParser INTERFACE ${LLHTTP_LIBRARY})
    target_compile_definitions(HttpParser::HttpParser INTERFACE MILLRACE_LLHTTP=1)
  else()
    find_library(HTTP_PARSER_LIBRARY http_parser REQUIRED)
    target_link_libraries(HttpParser::HttpParser INTERFACE ${HTTP_PARSER_LIBRARY})
  endif()

  # Debian 12 backports both guards against stream floods into nghttp2 1.52; without them we do not serve HTTP/2.
  set(CMAKE_REQUIRED_LIBRARIES nghttp2)
  check_symbol_exists(nghttp2_option_set_stream_reset_rate_limit nghttp2/nghttp2.h HAVE_NGHTTP2_RESET_LIMIT)
  check_symbol_exists(nghttp2_option_set_max_continuations nghttp2/nghttp2.h HAVE_NGHTTP2_MAX_CONT)
  unset(CMAKE_REQUIRED_LIBRARIES)
  if(NOT HAVE_NGHTTP2_RESET_LIMIT OR NOT HAVE_NGHTTP2_MAX_CONT)
    message(FATAL_ERROR "nghttp2 lacks its guards against rapid reset and CONTINUATION floods: "
                        "install Debian's libnghttp2-dev 1.52.0-1+deb12u3, or 1.61 or newer")
  endif()
endmacro()

# proto/millrace/v1/*.proto -> generated/millrace/v1/*.pb-c.{c,h}, library millrace_proto
function(millrace_proto)
  file(GLOB protos CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/proto/millrace/v1/*.proto)
  set(sources)
  foreach(proto ${protos})
    get_filename_component(noun ${proto} NAME_WE)
    set(stem ${CMAKE_BINARY_DIR}/generated/millrace/v1/${noun}.pb-c)
    add_custom_command(
      OUTPUT ${stem}.c ${stem}.h
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/generated
      COMMAND ${PROTOC_C} --proto_path=${CMAKE_SOURCE_DIR}/proto --c_out=${CMAKE_BINARY_DIR}/generated ${proto}
      DEPENDS ${protos} VERBATIM)
    list(APPEND sources ${stem}.c)
  endforeach()
  # What gRPC reflection serves: every schema with what it imports, embedded as mr_descriptors[] .. _end[].
  file(GLOB services CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/proto/grpc/*/*/*.proto)
  set(descriptors ${CMAKE_BINARY_DIR}/generated/millrace/v1/descriptors.pb)
  add_custom_command(
    OUTPUT ${descriptors}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/generated/millrace/v1
    COMMAND ${PROTOC} --proto_path=${CMAKE_SOURCE_DIR}/proto --include_imports
            --descriptor_set_out=${descriptors} ${protos} ${services}
    DEPENDS ${protos} ${services} VERBATIM)
  set(embed ${CMAKE_BINARY_DIR}/generated/millrace/v1/descriptors.S)
  file(CONFIGURE OUTPUT ${embed} CONTENT [[
	.section .rodata
	.global mr_descriptors, mr_descriptors_end
mr_descriptors:
	.incbin "@descriptors@"
mr_descriptors_end:
	.byte 0
	.section .note.GNU-stack,"",%progbits
]] @ONLY)
  set_source_files_properties(${embed} PROPERTIES OBJECT_DEPENDS ${descriptors})
  list(APPEND sources ${embed})
  add_library(millrace_proto STATIC ${sources})
  target_compile_options(millrace_proto PRIVATE -w)
  target_link_libraries(millrace_proto PUBLIC PkgConfig::PROTOBUFC)
endfunction()

# agent/bpf/*.bpf.c -> one stripped CO-RE object each, embedded as mr_bpf_<noun>[] .. mr_bpf_<noun>_end[]
function(millrace_bpf)
  file(GLOB programs CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/agent/bpf/*.bpf.c)
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/agent/bpf/*.h)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    set(arch -D__TARGET_ARCH_arm64)
  else()
    set(arch -D__TARGET_ARCH_x86)
  endif()
  set(sources)
  foreach(program ${programs})
    get_filename_component(noun ${program} NAME_WE)
    set(object ${CMAKE_BINARY_DIR}/generated/bpf/${noun}.bpf.o)
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/generated/bpf
      COMMAND ${BPF_CLANG} -target bpf -mcpu=v3 -O2 -g -Wall -Werror ${arch} -I${CMAKE_SOURCE_DIR}
              -I/usr/include/${CMAKE_LIBRARY_ARCHITECTURE} -c ${program} -o ${object}
      COMMAND ${LLVM_STRIP} -g ${object}
      DEPENDS ${program} ${headers} VERBATIM)
    set(embed ${CMAKE_BINARY_DIR}/generated/bpf/${noun}.S)
    file(CONFIGURE OUTPUT ${embed} CONTENT [[
	.section .rodata
	.balign 16
	.global mr_bpf_@noun@, mr_bpf_@noun@_end
mr_bpf_@noun@:
	.incbin "@object@"
mr_bpf_@noun@_end:
	.byte 0
	.section .note.GNU-stack,"",%progbits
]] @ONLY)
    set_source_files_properties(${embed} PROPERTIES OBJECT_DEPENDS ${object})
    list(APPEND sources ${embed})
  endforeach()
  if(NOT sources)
    add_library(millrace_bpf INTERFACE)
  else()
    add_library(millrace_bpf STATIC ${sources})
  endif()
endfunction()

function(millrace_resolve out)
  set(targets)
  foreach(name ${ARGN})
    if(name MATCHES "::")
      list(APPEND targets ${name})
    else()
      list(APPEND targets millrace_${name})
    endif()
  endforeach()
  set(${out} ${targets} PARENT_SCOPE)
endfunction()

# millrace_library(noun [FOLDER folder] [LINK names...]): millrace_<noun> from folder/*.c, main.c left out
function(millrace_library noun)
  cmake_parse_arguments(arg "" "FOLDER" "LINK" ${ARGN})
  if(NOT arg_FOLDER)
    set(arg_FOLDER ${noun})
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${arg_FOLDER}/*.c ${CMAKE_SOURCE_DIR}/${arg_FOLDER}/*.S)
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  millrace_resolve(links ${arg_LINK})
  if(sources)
    add_library(millrace_${noun} STATIC ${sources})
    target_link_libraries(millrace_${noun} PUBLIC ${links} Threads::Threads)
  else()
    add_library(millrace_${noun} INTERFACE)
    target_link_libraries(millrace_${noun} INTERFACE ${links})
  endif()
endfunction()

function(millrace_program name main)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  if(EXISTS ${CMAKE_SOURCE_DIR}/${main})
    millrace_resolve(links ${arg_LINK})
    add_executable(${name} ${main})
    target_link_libraries(${name} PRIVATE ${links})
  endif()
endfunction()

# bench/<noun>.c -> bin/bench-<noun>; shared pieces live in bench/<noun>/*.c as libraries millrace_bench_<noun>
function(millrace_benches)
  millrace_library(bench_world FOLDER bench/world LINK batch base proto PkgConfig::RDKAFKA PkgConfig::UV)
  millrace_library(bench_fleet FOLDER bench/fleet LINK bench_world batch base PkgConfig::RDKAFKA PkgConfig::CJSON)
  millrace_library(bench_drive FOLDER bench/drive LINK bench_fleet daemon PkgConfig::JEMALLOC)
  millrace_library(bench_detection FOLDER bench/detection LINK bench_fleet anomaly)
  # bench/drive/anomaly.c stands before the stage, to leave it out or to measure it apart.
  target_link_options(millrace_bench_drive INTERFACE -Wl,--wrap=anomaly_push,--wrap=anomaly_advance)
  file(GLOB mains CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.c)
  foreach(main ${mains})
    get_filename_component(noun ${main} NAME_WE)
    add_executable(bench-${noun} ${main})
    if(noun STREQUAL detection) # its stages are whole, and several
      target_link_libraries(bench-${noun} PRIVATE millrace_bench_detection)
      continue()
    endif()
    target_link_libraries(bench-${noun} PRIVATE millrace_bench_drive millrace_bench_world millrace_agent millrace_daemon
                          PkgConfig::JEMALLOC PkgConfig::ZSTD)
  endforeach()
endfunction()

# Tests of the folders that start brokers, namespaces or the whole pipeline: labelled slow. Those that measure time or
# use the whole machine run alone; those without a bound of time, or that mostly wait, run two at once.
function(millrace_slow name)
  if(name MATCHES "^(pipeline|netns|conformance|sim)/")
    set_tests_properties(${name} PROPERTIES LABELS slow TIMEOUT 1800)
    set(waiting agents backtest badinput broker config control kafka_security keys late_request ledger limits loss poison
        selfalert shed topics)
    list(JOIN waiting "|" waiting)
    if(NOT name MATCHES "^((sim|conformance)/.*|pipeline/(${waiting}))$")
      set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
    endif()
  endif()
endfunction()

# tests/<folder>/<noun>_test.c -> test "<folder>/<noun>", linked with the folder's library
function(millrace_tests)
  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*_test.c)
  file(GLOB support CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/support/*.c)
  foreach(test ${tests})
    file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR}/tests ${test})
    string(REGEX REPLACE "_test\\.c$" "" name ${path})
    string(REGEX REPLACE "/[^/]*$" "" folder ${name})
    string(REPLACE "/" "-" target ${name})
    add_executable(test-${target} ${test} ${support})
    target_compile_options(test-${target} PRIVATE -Wno-missing-prototypes)
    if(folder STREQUAL "agent/batch")
      set(links millrace_batch)
    elseif(folder STREQUAL "kube/catalog")
      set(links millrace_catalog)
    elseif(folder MATCHES "^api/")
      string(REPLACE "api/" "" noun ${folder})
      set(links millrace_${noun})
    elseif(TARGET millrace_${folder})
      set(links millrace_${folder})
    else()
      set(links millrace_daemon millrace_bench_fleet millrace_bench_world)
    endif()
    target_link_libraries(test-${target} PRIVATE ${links} PkgConfig::CMOCKA Threads::Threads)
    set_target_properties(test-${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${name} COMMAND test-${target} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${name} PROPERTIES TIMEOUT 120 SKIP_RETURN_CODE 77
                         ENVIRONMENT MILLRACE_BUILD=${CMAKE_BINARY_DIR})
    millrace_slow(${name})
  endforeach()

  # The server that Debian's own gRPC client and curl are set upon.
  if(EXISTS ${CMAKE_SOURCE_DIR}/tests/api/http/echo/main.c)
    add_executable(http-echo ${CMAKE_SOURCE_DIR}/tests/api/http/echo/main.c)
    target_link_libraries(http-echo PRIVATE millrace_http millrace_proto)
    set_target_properties(http-echo PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    foreach(noun grpc curl)
      add_test(NAME api/http/${noun} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
               COMMAND /usr/bin/python3 tests/api/http/${noun}_test.py $<TARGET_FILE:http-echo>)
      set_tests_properties(api/http/${noun} PROPERTIES TIMEOUT 120)
    endforeach()
  endif()

  # The API over a small known world, for the Python tests of the API and of the command line.
  if(EXISTS ${CMAKE_SOURCE_DIR}/tests/api/query/world/main.c)
    add_executable(query-world ${CMAKE_SOURCE_DIR}/tests/api/query/world/main.c)
    target_link_libraries(query-world PRIVATE millrace_query)
    set_target_properties(query-world PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  endif()

  # A cluster's objects, and the records made of them, as JSON lines, for the Python tests of the Kubernetes client.
  foreach(noun drive watcher)
    if(EXISTS ${CMAKE_SOURCE_DIR}/tests/kube/${noun}/main.c)
      add_executable(kube-${noun} ${CMAKE_SOURCE_DIR}/tests/kube/${noun}/main.c)
      target_link_libraries(kube-${noun} PRIVATE millrace_catalog PkgConfig::CJSON)
      set_target_properties(kube-${noun} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    endif()
  endforeach()

  # The pipeline over logs in memory, which the simulation compares with its oracle.
  if(EXISTS ${CMAKE_SOURCE_DIR}/tests/sim/drive.c)
    add_executable(sim-drive ${CMAKE_SOURCE_DIR}/tests/sim/drive.c)
    target_link_libraries(sim-drive PRIVATE millrace_daemon)
    set_target_properties(sim-drive PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  endif()

  # The pipeline over a log in a file, with snapshots, which the replay test kills.
  if(EXISTS ${CMAKE_SOURCE_DIR}/tests/sim/replay.c)
    add_executable(sim-replay ${CMAKE_SOURCE_DIR}/tests/sim/replay.c)
    target_link_libraries(sim-replay PRIVATE millrace_daemon millrace_bench_fleet PkgConfig::JEMALLOC)
    set_target_properties(sim-replay PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  endif()

  # Preloaded into it: lets its system calls fail. Without a sanitizer, which wants to come first.
  if(EXISTS ${CMAKE_SOURCE_DIR}/tests/sim/faults.c)
    add_library(sim-faults SHARED ${CMAKE_SOURCE_DIR}/tests/sim/faults.c)
    target_compile_options(sim-faults PRIVATE -fPIC -fno-sanitize=all -U_FORTIFY_SOURCE -Wno-missing-prototypes)
    target_link_options(sim-faults PRIVATE -fno-sanitize=all)
    set_target_properties(sim-faults PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  endif()

  millrace_scripts()
endfunction()

# tests/checks/<noun>.py -> test "checks/<noun>"; tests/<folder>/<noun>_test.{py,sh} -> test "<folder>/<noun>" with
# MILLRACE_BUILD in its environment. Exit code 77 means skipped.
# Python is Debian's, to which its grpc and protobuf packages belong, not whichever comes first in PATH.
function(millrace_scripts)
  file(GLOB checks CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/checks/*.py)
  file(GLOB_RECURSE scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/*_test.py ${CMAKE_SOURCE_DIR}/tests/*_test.sh)
  foreach(script ${checks} ${scripts})
    file(RELATIVE_PATH path ${CMAKE_SOURCE_DIR}/tests ${script})
    string(REGEX REPLACE "(_test)?\\.(py|sh)$" "" name ${path})
    if(NOT TEST ${name})
      if(script MATCHES "\\.sh$")
        add_test(NAME ${name} COMMAND bash ${script} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
      else()
        add_test(NAME ${name} COMMAND /usr/bin/python3 ${script} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
      endif()
      set_tests_properties(${name} PROPERTIES TIMEOUT 120)
    endif()
    set_tests_properties(${name} PROPERTIES
      ENVIRONMENT "MILLRACE_BUILD=${CMAKE_BINARY_DIR};PYTHONDONTWRITEBYTECODE=1" SKIP_RETURN_CODE 77)
    millrace_slow(${name})
  endforeach()
endfunction()

# tests/fuzz/<noun>_fuzz.c -> fuzz-<noun>
function(millrace_fuzzers)
  file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/*_fuzz.c)
  foreach(fuzzer ${fuzzers})
    get_filename_component(noun ${fuzzer} NAME_WE)
    string(REPLACE "_fuzz" "" noun ${noun})
    add_executable(fuzz-${noun} ${fuzzer})
    target_link_libraries(fuzz-${noun} PRIVATE millrace_daemon millrace_agent millrace_catalog millrace_cli
                          -fsanitize=fuzzer)
  endforeach()
endfunction()
