#!/usr/bin/python3
"""The Kubernetes client against a server that answers by a script: pages, watches, and all that goes wrong."""

import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kubedrive
from kubescript import HOLD, Answer, Server, bookmark, event, field, page, pod, status, wrapped

QUIET = Answer(HOLD)


class Watch(unittest.TestCase):
    def run_script(self, pods=(QUIET,), kinds="pods", user="", **settings):
        others = settings.pop("others", {})
        self.server = Server({"pods": pods, **others})
        self.addCleanup(self.server.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        config = kubedrive.kubeconfig(folder.name, self.server.url, user=user)
        self.drive = kubedrive.Drive(config, kinds, **{"retry_ms": 10, "retry_max_ms": 40, **settings})

    def until_targets(self, *targets):
        deadline = time.monotonic() + kubedrive.PATIENCE_S
        while self.server.targets() != list(targets) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(self.server.targets(), list(targets))

    def test_a_list_comes_in_pages_and_is_watched_from_its_version(self):
        self.run_script([Answer(page(7, [pod("a", 1), pod("b", 2)], "t/o+k=")), Answer(page(7, [pod("c", 3)])),
                         Answer(event("ADDED", pod("d", 8)), event("MODIFIED", pod("a", 9)),
                                event("DELETED", pod("b", 10)), HOLD)], page=2)
        self.drive.until("deleted")
        self.assertEqual(self.drive.told(), [
            ("changed", "a", "1"), ("changed", "b", "2"), ("changed", "c", "3"), ("synced", "pods", None),
            ("changed", "d", "8"), ("changed", "a", "9"), ("deleted", "b", "10")])
        self.assertEqual(self.server.targets(), ["list", "next t/o+k=", "watch 7"])
        listed, _, watched = self.server.requests["pods"]
        self.assertEqual(listed[0], {"limit": "2"})
        self.assertEqual(listed[1]["accept"], "application/vnd.kubernetes.protobuf")
        self.assertEqual(watched[1]["accept"], "application/vnd.kubernetes.protobuf;stream=watch")
        self.assertEqual(watched[0]["allowWatchBookmarks"], "true")
        state = self.drive.end()["kinds"]["pods"]
        self.assertEqual((state["synced"], state["error"], state["objects"]), (True, "", 3))

    def test_a_watch_that_comes_byte_by_byte_is_the_same(self):
        frames = event("ADDED", pod("a", 8)) + bookmark(9) + event("MODIFIED", pod("a", 10))
        self.run_script([Answer(page(7, [])), Answer(*(bytes([byte]) for byte in frames), HOLD)])
        self.drive.until("changed", version="10")
        self.assertEqual(self.drive.told()[1:], [("changed", "a", "8"), ("changed", "a", "10")])
        self.drive.end()

    def test_what_is_cut_is_gone_on_with_from_the_last_version(self):
        half = event("MODIFIED", pod("a", 9))
        self.run_script([Answer(page(7, [])), Answer(event("ADDED", pod("a", 8)), half[:20], cut=True),
                         Answer(bookmark(12)), Answer(event("MODIFIED", pod("a", 13)), HOLD)])
        self.drive.until("changed", version="13")
        self.assertEqual(self.server.targets(), ["list", "watch 7", "watch 8", "watch 12"])
        state = self.drive.end()["kinds"]["pods"]
        self.assertEqual((state["failures"], state["lists"], state["events"]), (1, 1, 3))

    def check_relist(self, expired):
        self.run_script([Answer(page(7, [pod("a", 1), pod("b", 2), pod("c", 3)])), expired,
                         Answer(page(20, [pod("a", 1), pod("c", 15), pod("d", 16)])), QUIET])
        self.drive.until("synced")
        self.drive.until("synced")
        self.assertEqual(self.drive.told()[4:], [
            ("changed", "c", "15"), ("changed", "d", "16"), ("deleted", "uid-b", None), ("synced", "pods", None)])
        self.until_targets("list", "watch 7", "list", "watch 20")
        state = self.drive.end()["kinds"]["pods"]
        self.assertEqual((state["expired"], state["objects"], state["error"]), (1, 3, ""))

    def test_a_version_refused_as_too_old_leads_to_a_new_list_and_what_vanished_is_told(self):
        self.check_relist(Answer(wrapped(status(410, "too old")), code=410))

    def test_a_version_that_becomes_too_old_leads_to_a_new_list(self):
        self.check_relist(Answer(event("ERROR", status(410, "too old resource version"))))

    def test_a_list_whose_token_is_too_old_begins_anew(self):
        self.run_script([Answer(page(7, [pod("a", 1)], "t")), Answer(wrapped(status(410, "expired")), code=410),
                         Answer(page(9, [pod("b", 8)])), QUIET])
        self.drive.until("synced")
        self.assertEqual(self.drive.told(), [("changed", "a", "1"), ("changed", "b", "8"), ("deleted", "uid-a", None),
                                             ("synced", "pods", None)])
        self.drive.end()

    def test_a_token_is_read_again_after_it_was_refused(self):
        def judge(query, headers):
            if headers.get("authorization") != "Bearer second":
                return Answer(wrapped(status(401, "Unauthorized")), code=401)
            return QUIET if "watch" in query else Answer(page(7, []))

        with tempfile.TemporaryDirectory() as folder:
            token = pathlib.Path(folder) / "token"
            token.write_text("first\n")
            self.run_script([judge], user=f"tokenFile: {token}")
            state = self.drive.until_status("pods", lambda state: state["failures"])
            self.assertEqual((state["synced"], state["error"]), (False, "listing pods: HTTP 401: Unauthorized"))
            token.write_text("second\n")
            self.drive.until("synced")
            token.unlink()
            self.drive.end()

    def test_without_a_token_nothing_is_asked_and_the_state_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            token = pathlib.Path(folder) / "token"
            self.run_script([Answer(page(7, [])), QUIET], user=f"tokenFile: {token}")
            state = self.drive.until_status("pods", lambda state: state["failures"])
            self.assertIn(f"{token}: No such file", state["error"])
            self.assertEqual(self.server.targets(), [])
            token.write_text("abc")
            self.drive.until("synced")
            self.drive.end()

    def test_one_kind_that_is_forbidden_does_not_hold_up_another(self):
        allowed = threading.Event()

        def judge(query, _):
            if not allowed.is_set():
                return Answer(wrapped(status(403, "nodes is forbidden")), code=403)
            return QUIET if "watch" in query else Answer(page(7, []))

        self.run_script([Answer(page(7, [pod("a", 1)])), QUIET], kinds="pods,nodes", others={"nodes": [judge]})
        self.drive.until("synced", kind="pods")
        state = self.drive.until_status("nodes", lambda state: state["failures"] > 3)
        self.assertEqual((state["synced"], state["error"]), (False, "listing nodes: HTTP 403: nodes is forbidden"))
        self.assertEqual(self.drive.status()["kinds"]["pods"]["error"], "")
        allowed.set()
        self.drive.until("synced", kind="nodes")
        self.drive.end()

    def test_who_is_asked_to_wait_waits(self):
        times = []

        def judge(query, _):
            times.append(time.monotonic())
            if len(times) == 1:
                return Answer(b"Too many requests, please try again later.\n", code=429, headers=["Retry-After: 1"])
            return QUIET if "watch" in query else Answer(page(7, []))

        self.run_script([judge])
        state = self.drive.until_status("pods", lambda state: state["failures"])
        self.assertIn("HTTP 429: Too many requests", state["error"])
        self.drive.until("synced")
        self.assertGreaterEqual(times[1] - times[0], 1)
        self.drive.end()

    def test_what_is_no_watch_leads_to_a_new_list(self):
        self.run_script([Answer(page(7, [])), Answer(b"\0\0\0\x05hello", HOLD), Answer(page(8, [])), QUIET])
        self.drive.until("synced")
        self.drive.until("synced")
        self.assertEqual(self.drive.end()["kinds"]["pods"]["failures"], 1)

    def test_what_is_no_list_of_kubernetes_is_said(self):
        self.run_script([Answer(b'{"kind":"PodList"}'), Answer(page(7, [])[:-5]), Answer(page(7, [])), QUIET],
                        retry_ms=300, retry_max_ms=300)
        state = self.drive.until_status("pods", lambda state: state["failures"])
        self.assertEqual(state["error"], "listing pods: the answer is none of Kubernetes")
        self.drive.until("synced")
        self.assertEqual(self.server.targets()[:3], ["list"] * 3)
        self.assertEqual(self.drive.end()["kinds"]["pods"]["failures"], 2)

    def test_a_list_that_is_cut_in_the_middle_does_not_delete_what_it_did_not_come_to(self):
        both = page(9, [pod("a", 1), pod("b", 2)])
        self.run_script([Answer(page(7, [pod("a", 1), pod("b", 2)])), Answer(event("ERROR", status(410, "old"))),
                         Answer(both[:60], cut=True), Answer(both), QUIET])
        self.drive.until("synced")
        self.drive.until("synced")
        self.assertEqual([what for what, _, _ in self.drive.told()], ["changed", "changed", "synced", "synced"])
        self.drive.end()

    def test_a_server_that_knows_less_than_it_did_is_listed_anew(self):
        self.run_script([Answer(page(700, [pod("a", 650)])), Answer(bookmark(710), bookmark(99), HOLD),
                         Answer(page(100, [pod("b", 90)])), QUIET])
        self.drive.until("synced")
        self.drive.until("synced")
        self.assertEqual(self.drive.told()[2:], [("changed", "b", "90"), ("deleted", "uid-a", None),
                                                 ("synced", "pods", None)])
        self.drive.end()

    def test_a_watch_that_says_nothing_is_cut_and_after_two_of_them_listed_anew(self):
        self.run_script([Answer(page(7, [])), QUIET, QUIET, Answer(page(8, [])), QUIET], stall_ms=700)
        self.drive.until("synced")
        self.drive.until("synced")
        self.assertEqual(self.server.targets()[:4], ["list", "watch 7", "watch 7", "list"])
        self.assertGreaterEqual(self.drive.end()["kinds"]["pods"]["stalled"], 2)

    def test_a_version_that_is_refused_five_times_leads_to_a_new_list(self):
        refused = Answer(wrapped(status(504, "Too large resource version")), code=504)
        self.run_script([Answer(page(7, [])), *[refused] * 5, Answer(page(3, [])), QUIET])
        self.until_targets("list", *["watch 7"] * 5, "list", "watch 3")
        self.drive.end()

    def test_bookmarks_keep_a_quiet_watch(self):
        def slowly(query, _):
            time.sleep(0.4)
            return Answer(bookmark(query["resourceVersion"])) if "watch" in query else Answer(page(7, []))

        self.run_script([slowly], stall_ms=1500)
        state = self.drive.until_status("pods", lambda state: state["watches"] >= 5)
        self.assertEqual((state["stalled"], state["failures"], state["lists"]), (0, 0, 1))
        self.drive.end()

    def test_a_server_that_ends_each_watch_at_once_is_asked_ever_more_rarely(self):
        self.run_script([Answer(page(7, [])), Answer()], retry_ms=50, retry_max_ms=10000)
        self.drive.until("synced")
        time.sleep(1.5)
        self.assertLess(len(self.server.targets()), 12)
        self.drive.end()

    def test_objects_beyond_the_bound_are_refused_and_counted(self):
        self.run_script([Answer(page(7, [pod(f"p{i}", i + 1) for i in range(4)])),
                         Answer(event("DELETED", pod("p3", 8)), event("DELETED", pod("p0", 9)),
                                event("ADDED", pod("p5", 10)), HOLD)], objects=3)
        self.drive.until("changed", name="p5")
        self.assertEqual(self.drive.told()[-3:], [("synced", "pods", None), ("deleted", "p0", "9"),
                                                  ("changed", "p5", "10")])
        state = self.drive.end()["kinds"]["pods"]
        self.assertEqual((state["refused"], state["objects"]), (1, 3))

    def test_an_object_that_is_none_is_counted_and_the_rest_goes_on(self):
        self.run_script([Answer(page(7, [field(1, field(1, "nameless")), pod("a", 1), b"\xff\xff"])), QUIET])
        self.drive.until("synced")
        self.assertEqual(self.drive.told(), [("changed", "a", "1"), ("synced", "pods", None)])
        self.assertEqual(self.drive.end()["malformed"], 2)

    def test_a_list_without_end_is_given_up(self):
        self.run_script([Answer(page(7, [], "more"))])
        state = self.drive.until_status("pods", lambda state: state["failures"])
        self.assertEqual(state["error"], "listing pods: the list does not end")
        self.drive.end()

    def test_the_servers_clock_is_known_against_ours(self):
        date = time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
        self.run_script([Answer(page(7, []), headers=[date]), QUIET])
        self.drive.until("synced")
        state = self.drive.end()
        self.assertLessEqual(state["ahead_least_s"], 100)
        self.assertGreaterEqual(state["ahead_most_s"], 99)
        self.assertLess(state["ahead_most_s"] - state["ahead_least_s"], 20)

    def test_a_server_that_is_away_is_said(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # and does not listen
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            drive = kubedrive.Drive(kubedrive.kubeconfig(folder, url), retry_ms=10, retry_max_ms=40)
            state = drive.until_status("pods", lambda state: state["failures"] > 2)
            self.assertIn("listing pods: ", state["error"])
            self.assertFalse(state["synced"])
            drive.end()

    def test_in_a_pod_the_account_is_used(self):
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(KUBERNETES_SERVICE_HOST="127.0.0.1", KUBERNETES_SERVICE_PORT="1")
            (pathlib.Path(folder) / "token").write_text("abc")
            drive = kubedrive.Drive(f"in-cluster:{folder}", retry_ms=10)
            state = drive.until_status("pods", lambda state: state["failures"])
            self.assertTrue(state["error"].startswith("listing pods: "), state)
            drive.end()


if __name__ == "__main__":
    if kubedrive.missing():
        print(kubedrive.missing())
        sys.exit(77)
    unittest.main()
