#!/usr/bin/python3
"""Debian's own gRPC client (C core) against the test server: calls, errors, streams, health, reflection."""
import json, subprocess, sys, time, unittest, urllib.error, urllib.request
import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ECHO = sys.argv[1]
RAW = dict(request_serializer=None, response_deserializer=None)


def generated():
    """Message classes of health and reflection, from the public schemas, by protoc."""
    out = subprocess.run(["protoc", "--proto_path=proto", "--descriptor_set_out=/dev/stdout", "--include_imports",
                          "proto/grpc/health/v1/health.proto", "proto/grpc/reflection/v1/reflection.proto",
                          "proto/grpc/reflection/v1alpha/reflection.proto"], check=True, capture_output=True).stdout
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out).file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return lambda name: factory.GetPrototype(pool.FindMessageTypeByName(name))


message = generated()


class Grpc(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen([ECHO], stdout=subprocess.PIPE, text=True)
        cls.port = int(cls.server.stdout.readline())
        cls.addClassCleanup(cls.server.stdout.close)

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        status = cls.server.wait(10)
        assert status == 0, f"server ended with {status}"  # the sanitizers speak through it

    def setUp(self):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=[
            ("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)])

    def tearDown(self):
        self.channel.close()

    def unary(self, method="Unary"):
        return self.channel.unary_unary(f"/echo.Echo/{method}", **RAW)

    def refused(self, code, call, *args, **kw):
        with self.assertRaises(grpc.RpcError) as raised:
            result = call(*args, **kw)
            if hasattr(result, "__next__"):
                list(result)
        self.assertEqual(raised.exception.code(), code)
        return raised.exception

    def stats(self):
        return json.load(urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats"))

    def test_unary_answers_of_every_size_come_back(self):
        for size in (0, 1, 5, 16384, 65535, 65536, 1 << 20, 4 << 20):
            body = bytes(i & 255 for i in range(size % 257)) + bytes(size - size % 257)
            self.assertEqual(self.unary()(body), body, size)

    def test_a_message_over_four_mebibytes_is_resource_exhausted(self):
        self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, self.unary(), bytes((4 << 20) + 1))
        self.assertEqual(self.stats()["body_bytes"], 0)

    def test_an_error_carries_its_percent_encoded_message(self):
        error = self.refused(grpc.StatusCode.NOT_FOUND, self.unary(), b"fail")
        self.assertEqual(error.details(), "no 100% ü")

    def test_a_refusal_is_a_problem_or_the_status_that_stands_for_it(self):
        for status, code in ((400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"),
                             (404, "NOT_FOUND"), (409, "FAILED_PRECONDITION"), (503, "UNAVAILABLE"),
                             (504, "DEADLINE_EXCEEDED")):
            error = self.refused(grpc.StatusCode[code], self.unary(), b"refuse %d" % status)
            self.assertEqual("so it is", error.details())
            with self.assertRaises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/refused/{status}")
            with raised.exception as answer:
                self.assertEqual((status, "so it is"), (answer.code, json.load(answer)["detail"]))

    def test_an_unknown_method_is_unimplemented(self):
        self.refused(grpc.StatusCode.UNIMPLEMENTED, self.unary("Nothing"), b"")

    def test_compressed_input_is_unimplemented(self):
        call = self.channel.unary_unary("/echo.Echo/Unary", **RAW)
        self.refused(grpc.StatusCode.UNIMPLEMENTED, call, bytes(10000), compression=grpc.Compression.Gzip)

    def test_the_server_enforces_the_deadline_and_tells_the_handler(self):
        gone = self.stats()["gone"]
        self.refused(grpc.StatusCode.DEADLINE_EXCEEDED, self.unary("Never"), b"", timeout=0.3)
        time.sleep(0.2)
        self.assertEqual(self.stats()["gone"], gone + 1)

    def test_a_cancelled_call_tells_the_handler(self):
        gone = self.stats()["gone"]
        call = self.channel.unary_stream("/echo.Echo/Repeat", **RAW)(b"100000000")
        next(call)
        call.cancel()
        deadline = time.time() + 5
        while self.stats()["gone"] == gone and time.time() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.stats()["gone"], gone + 1)

    def test_a_long_stream_arrives_whole_and_bounded(self):
        stream = self.channel.unary_stream("/echo.Echo/Repeat", **RAW)
        sizes = [len(piece) for piece in stream(b"5000")]
        self.assertEqual(sizes, [4096] * 5000)
        self.assertEqual(list(stream(b"0")), [])
        self.assertEqual(self.stats()["slow_clients"], 0)

    def test_many_calls_at_once_are_all_answered(self):
        calls = [self.unary().future(b"%d" % i) for i in range(1000)]
        self.assertEqual([call.result() for call in calls], [b"%d" % i for i in range(1000)])

    def check(self, service):
        call = self.channel.unary_unary("/grpc.health.v1.Health/Check",
                                        message("grpc.health.v1.HealthCheckRequest").SerializeToString,
                                        message("grpc.health.v1.HealthCheckResponse").FromString)
        return call(message("grpc.health.v1.HealthCheckRequest")(service=service))

    def set_health(self, serving):
        urllib.request.urlopen(urllib.request.Request(
            f"http://127.0.0.1:{self.port}/health?serving={serving}", method="POST", data=b""))

    def test_health_check_knows_its_services(self):
        self.assertEqual(self.check("").status, 1)
        self.assertEqual(self.check("echo.Echo").status, 1)
        self.refused(grpc.StatusCode.NOT_FOUND, self.check, "nobody")

    def test_health_watch_pushes_changes(self):
        request = message("grpc.health.v1.HealthCheckRequest")
        watch = self.channel.unary_stream("/grpc.health.v1.Health/Watch", request.SerializeToString,
                                          message("grpc.health.v1.HealthCheckResponse").FromString)
        changes = watch(request(service="echo.Echo"), timeout=10)
        seen = [next(changes).status]
        for serving in ("false", "true"):
            self.set_health(serving)
            seen.append(next(changes).status)
        self.assertEqual(seen, [1, 2, 1])
        self.assertEqual(next(watch(request(service="nobody"), timeout=10)).status, 3)

    def reflect(self, version, *questions):
        request = message(f"grpc.reflection.{version}.ServerReflectionRequest")
        call = self.channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                                          request.SerializeToString,
                                          message(f"grpc.reflection.{version}.ServerReflectionResponse").FromString)
        return list(call(iter(request(**question) for question in questions), timeout=10))

    def test_reflection_lists_and_describes(self):
        for version in ("v1", "v1alpha"):
            services, by_symbol, by_method, by_name, unknown, part = self.reflect(
                version, {"list_services": ""}, {"file_containing_symbol": "grpc.health.v1.Health"},
                {"file_containing_symbol": "grpc.health.v1.HealthCheckResponse.ServingStatus"},
                {"file_by_filename": "millrace/v1/events.proto"}, {"file_containing_symbol": "no.Such"},
                {"file_containing_symbol": "grpc.health.v1.Heal"})
            names = [service.name for service in services.list_services_response.service]
            self.assertEqual(len(names), len(set(names)))
            self.assertLessEqual({"echo.Echo", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                                  "grpc.reflection.v1alpha.ServerReflection"}, set(names))
            for answer, name in ((by_symbol, "grpc/health/v1/health.proto"),
                                 (by_method, "grpc/health/v1/health.proto"), (by_name, "millrace/v1/events.proto")):
                files = [descriptor_pb2.FileDescriptorProto.FromString(file)
                         for file in answer.file_descriptor_response.file_descriptor_proto]
                self.assertEqual(files[0].name, name)
                for file in files:
                    self.assertLessEqual(set(file.dependency), {other.name for other in files})
            self.assertEqual(unknown.error_response.error_code, 5)
            self.assertEqual(part.error_response.error_code, 5)
            self.assertEqual(unknown.original_request.file_containing_symbol, "no.Such")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
