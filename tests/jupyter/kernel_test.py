"""The notebook kernel, held by Jupyter's own harness and by what that does not ask for.

Run by ctest (jupyter.kernel); needs Debian's python3-jupyter-kernel-test, and is reported as skipped,
by name, where that is not installed. Arguments: the program, a folder to work in.
"""
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SKIPPED = 77
program, folder = sys.argv[1], os.path.abspath(sys.argv[2])
try:
    import jupyter_kernel_test
    import zmq
    from jupyter_client import BlockingKernelClient
    from jupyter_client.manager import start_new_kernel
    from jupyter_client.session import Session
except ImportError as missing:
    print("skipped: %s; python3-jupyter-kernel-test has it" % missing)
    sys.exit(SKIPPED)

shutil.rmtree(folder, ignore_errors=True)
os.makedirs(folder)
os.environ.update(JUPYTER_DATA_DIR=folder + "/data", JUPYTER_RUNTIME_DIR=folder + "/runtime",
                  XDG_STATE_HOME=folder + "/state")
installed = subprocess.run([program, "jupyter", "install", "--user"], capture_output=True, text=True)
if "has no notebook kernel" in installed.stderr:
    print("skipped: " + installed.stderr)
    sys.exit(SKIPPED)
assert installed.returncode == 0, installed.stderr

TIMEOUT = 60  # seconds: the machine may be busy


class Harness(jupyter_kernel_test.KernelTests):
    kernel_name = "perilune"
    language_name = "lua"
    file_extension = ".lua"
    code_hello_world = "print('hello, world')"
    code_stderr = "io.stderr:write('oops')"
    completion_samples = [
        {"text": "pl.zer", "matches": ["zeros"]},
        {"text": "string.re", "matches": ["rep", "reverse"]},
    ]
    complete_code_samples = ["1 + 1", "local x = 3", "for i = 1, 3 do\n  print(i)\nend", "?matmul"]
    incomplete_code_samples = ["for i = 1, 3 do", "x = {1,", "function f()\n", "1 +"]
    invalid_code_samples = ["1 1", "end", "x ="[:1] + " = = 2"]
    code_generate_error = "error('no')"
    code_execute_result = [
        {"code": "6 * 7", "result": "42"},
        {"code": "'a' .. 'b'", "result": '"ab"'},
        {"code": "pl.zeros(2):shape()", "result": "{ 2 }"},
    ]
    code_display_data = [
        {"code": "pl.plot.chart{ series = { { x = {1, 2}, y = {3, 4} } } }",
         "mime": "image/svg+xml"},
        {"code": ":plot {1, 4, 9}", "mime": "image/svg+xml"},
    ]
    code_history_pattern = "6 ? 7*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "pl.matmul("


class Kernel(unittest.TestCase):
    """A kernel of its own for each case."""

    def setUp(self):
        self.manager, self.client = start_new_kernel(kernel_name="perilune", startup_timeout=TIMEOUT)

    def tearDown(self):
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel()

    def pid(self):
        return self.manager.provisioner.pid

    def until(self, message_id, client=None, stop=None):
        """Contents of iopub messages for a request, as (type, content), until it is idle."""
        found = []
        while True:
            message = (client or self.client).get_iopub_msg(timeout=TIMEOUT)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return found
            found.append((kind, content))
            if stop and stop(kind, content):
                return found

    def run_cell(self, code, client=None, **options):
        client = client or self.client
        message_id = client.execute(code, **options)
        found = self.until(message_id, client)
        return client.get_shell_msg(timeout=TIMEOUT)["content"], found

    def result(self, code, client=None):
        for kind, content in self.run_cell(code, client)[1]:
            if kind == "execute_result":
                return content["data"]["text/plain"]

    def interrupted(self, code, how):
        """Runs a cell that says when it is at it; how long it went on after the interrupt."""
        message_id = self.client.execute("io.write('here'); " + code)
        self.until(message_id, stop=lambda kind, content: kind == "stream")
        time.sleep(0.05)
        began = time.monotonic()
        how()
        reply = self.client.get_shell_msg(timeout=TIMEOUT)["content"]
        took = time.monotonic() - began
        self.assertEqual((reply["status"], reply["ename"]), ("error", "interrupted"))
        return took

    def interrupt_request(self):
        self.client.control_channel.send(self.client.session.msg("interrupt_request"))
        reply = self.client.get_control_msg(timeout=TIMEOUT)
        self.assertEqual((reply["msg_type"], reply["content"]["status"]),
                         ("interrupt_reply", "ok"))

    def test_interrupt(self):
        self.run_cell("kept = 5; a = pl.randn(6000, 6000)")
        cases = {
            "a Lua loop": "while true do end",
            "a product": "for i = 1, 1000 do local scope <close> = pl.scope(); a:matmul(a) end",
            "a protected loop": "while true do pcall(function() while true do end end) end",
            "a pattern": "(('a'):rep(40)):find(('a?'):rep(40) .. ('a'):rep(40) .. 'b')",
        }
        for name, code in cases.items():
            for way, how in (("SIGINT", self.manager.interrupt_kernel),
                             ("interrupt_request", self.interrupt_request)):
                print("interrupt by %s in %s: %.0f ms" %
                      (way, name, 1000 * self.interrupted(code, how)))
        self.assertEqual(self.result("kept"), "5")

    def test_interrupt_of_nothing(self):
        for _ in range(3):
            self.manager.interrupt_kernel()
            self.interrupt_request()
        self.assertEqual(self.result("1 + 1"), "2")

    def test_stop_on_error(self):
        """Cells that wait behind one that fails are given back; the next one runs."""
        first = self.client.execute("local t = os.clock() while os.clock() < t + 0.5 do end error('no')")
        ids = [first] + [self.client.execute("ran = true") for _ in range(2)]
        replies = {}
        for _ in ids:
            reply = self.client.get_shell_msg(timeout=TIMEOUT)
            replies[reply["parent_header"]["msg_id"]] = reply["content"]["status"]
        self.assertEqual([replies[i] for i in ids], ["error", "aborted", "aborted"])
        self.assertEqual(self.result("ran"), "nil")

    def test_heartbeat_while_a_cell_runs(self):
        message_id = self.client.execute("io.write('here') while true do end")
        self.until(message_id, stop=lambda kind, content: kind == "stream")
        socket = zmq.Context.instance().socket(zmq.REQ)
        socket.linger = 0
        socket.connect("tcp://127.0.0.1:%d" % self.manager.hb_port)
        socket.send(b"ping")
        self.assertTrue(socket.poll(TIMEOUT * 1000))
        self.assertEqual(socket.recv(), b"ping")
        socket.close()
        self.manager.interrupt_kernel()

    def test_printed_as_it_comes(self):
        message_id = self.client.execute(
            "io.write('a'); local t = os.clock() while os.clock() < t + 1 do end; io.write('b')")
        found = self.until(message_id, stop=lambda kind, content: kind == "stream")
        self.assertEqual(found[-1][1], {"name": "stdout", "text": "a"})
        self.assertEqual([c["text"] for k, c in self.until(message_id) if k == "stream"], ["b"])

    def test_order(self):
        """What is printed, displayed and given comes in the order of the code, nothing is lost."""
        code = "for i = 1, 300 do print(i) display(i) end io.stderr:write('e') return 'r'"
        _, found = self.run_cell(code)
        seen = []
        for kind, content in found:
            if kind == "stream" and content["name"] == "stdout":
                seen += [("p", int(n)) for n in content["text"].split()]
            elif kind == "display_data":
                seen.append(("d", int(content["data"]["text/plain"])))
        self.assertEqual(seen, [(m, i) for i in range(1, 301) for m in "pd"])
        self.assertEqual([k for k, _ in found[-2:]], ["stream", "execute_result"])
        _, found = self.run_cell("for i = 1, 100000 do print(i) end os.execute('echo end')")
        text = "".join(c["text"] for k, c in found if k == "stream")
        self.assertEqual(text, "".join("%d\n" % i for i in range(1, 100001)) + "end\n")
        self.assertLess(len(found), 2000)

    def test_characters(self):
        _, found = self.run_cell("io.write('\\u{e4}\\u{1F311}\\0\\255|'); io.write('\\xc3')")
        self.assertEqual("".join(c["text"] for k, c in found if k == "stream"),
                         "\u00e4\U0001F311\0\ufffd|")
        self.client.complete("-- \U0001F311\nstring.re", 14)
        content = self.client.get_shell_msg(timeout=TIMEOUT)["content"]
        self.assertEqual((content["matches"], content["cursor_start"], content["cursor_end"]),
                         (["rep", "reverse"], 12, 14))

    def test_input(self):
        message_id = self.client.execute("local n, l = io.read('n', 'L'); return n + 1, l")
        for answer in ("41", "text"):
            request = self.client.get_stdin_msg(timeout=TIMEOUT)
            self.assertEqual(request["msg_type"], "input_request")
            self.client.input(answer)
        found = self.until(message_id)
        self.assertEqual(found[-1][1]["data"]["text/plain"], '42\t"text\\n"')
        self.client.get_shell_msg(timeout=TIMEOUT)
        reply, _ = self.run_cell("io.read()", allow_stdin=False)
        self.assertEqual(reply["evalue"], "io.read: this client takes no input")
        self.client.execute("io.read()")
        self.client.get_stdin_msg(timeout=TIMEOUT)
        self.manager.interrupt_kernel()
        self.assertEqual(self.client.get_shell_msg(timeout=TIMEOUT)["content"]["ename"],
                         "interrupted")

    def raw_shell(self):
        socket = zmq.Context.instance().socket(zmq.DEALER)
        socket.linger = 0
        socket.connect("tcp://127.0.0.1:%d" % self.manager.shell_port)
        return socket

    def test_wrong_signatures(self):
        """What has no right signature is not heard, in any form; what has one is."""
        socket = self.raw_shell()
        content = {"code": "heard = (heard or 0) + 1", "silent": False}
        other = Session(key=b"another key")
        other.send(socket, "execute_request", content)
        ours = self.client.session
        for frames in ([b"<IDS|MSG>"], [b"x"] * 100, [b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{}"],
                       [b"<IDS|MSG>"] + [b"\xff" * 100] * 5, [b""], [b"x" * (1 << 20)] * 3):
            socket.send_multipart(frames)
        frames = ours.serialize(ours.msg("execute_request", content))
        frames[-1] = frames[-1].replace(b"+ 1", b"+ 9")  # changed on the way
        socket.send_multipart(frames)
        header = json.dumps({"msg_id": "1", "msg_type": "execute_request"}).encode()
        for parts in ([b""] * 4, [header, b"{}", b"{}", b"[]"], [header, b"{}", b"{}", b"5"],
                      [header, b"{}", b"{}", b'{"code": {"a": 1}, "stop_on_error": false}'],
                      [b"[" * 9999] * 4,
                      [b'{"msg_type": 5}', b"{}", b"{}", b"{}"]):  # signed, and no sense in it
            socket.send_multipart([b"<IDS|MSG>", ours.sign(parts)] + parts)
        ours.send(socket, ours.msg("never_heard_of", {}))
        ours.send(socket, ours.msg("kernel_info_request", {}))
        for _ in range(2):  # answers to that and to the cell without sense: all before is through
            self.assertTrue(socket.poll(TIMEOUT * 1000))
            socket.recv_multipart()
        self.assertEqual(self.result("heard"), "nil")
        ours.send(socket, ours.msg("execute_request", content))
        self.assertTrue(socket.poll(TIMEOUT * 1000))
        self.assertEqual(self.result("heard"), "1")
        socket.close()

    def test_replay(self):
        """A message that was heard is not heard again, on whatever channel; a new one like it is."""
        socket, ours = self.raw_shell(), self.client.session
        control = zmq.Context.instance().socket(zmq.DEALER)
        control.linger = 0
        control.connect("tcp://127.0.0.1:%d" % self.manager.control_port)
        content = {"code": "heard = (heard or 0) + 1", "silent": False}
        frames = ours.serialize(ours.msg("execute_request", content))
        for _ in range(3):
            socket.send_multipart(frames)
        self.assertTrue(socket.poll(TIMEOUT * 1000))
        socket.recv_multipart()
        control.send_multipart(frames)
        ours.send(control, ours.msg("kernel_info_request", {}))
        self.assertTrue(control.poll(TIMEOUT * 1000))
        control.recv_multipart()
        ours.send(socket, ours.msg("execute_request", content))
        self.assertTrue(socket.poll(TIMEOUT * 1000))
        self.assertEqual(self.result("heard"), "2")
        socket.close()
        control.close()

    def test_plot_of_a_run(self):
        """:plot RUN METRIC is a picture as :plot Y is."""
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/metrics.jsonl", "w") as rows:
                rows.writelines('{"step": %d, "loss": %g}\n' % (i, 1 / i) for i in range(1, 9))
            reply, found = self.run_cell(":plot %s loss" % folder)
        self.assertEqual(reply["status"], "ok")
        self.assertIn("image/svg+xml", [c for k, c in found if k == "display_data"][0]["data"])

    def test_client_that_dies(self):
        """A client killed amidst a cell that prints, and one that is stopped, do no harm."""
        code = ("import sys, time\n"
                "from jupyter_client import BlockingKernelClient\n"
                "c = BlockingKernelClient(connection_file=sys.argv[1])\n"
                "c.load_connection_file(); c.start_channels(); c.wait_for_ready(timeout=60)\n"
                "c.execute('for i = 1, 300000 do print(i) end done = true')\n"
                "c.get_iopub_msg(timeout=60); print('ready', flush=True); time.sleep(600)\n")
        clients = []
        for sign in (signal.SIGKILL, signal.SIGSTOP):
            client = subprocess.Popen([sys.executable, "-c", code, self.manager.connection_file],
                                      stdout=subprocess.PIPE)
            self.assertEqual(client.stdout.readline(), b"ready\n")
            client.send_signal(sign)
            clients.append(client)
        self.assertEqual(self.result("done"), "true")
        self.assertEqual(self.result("1 + 1"), "2")
        for client in clients:
            client.kill()
            client.wait()
            client.stdout.close()

    def test_two_clients(self):
        """Both hear what is printed, each gets its own answers."""
        other = BlockingKernelClient(connection_file=self.manager.connection_file)
        other.load_connection_file()
        other.start_channels()
        other.wait_for_ready(timeout=TIMEOUT)
        while True:  # until it hears: a subscription takes a while
            other.kernel_info()
            other.get_shell_msg(timeout=TIMEOUT)
            try:
                other.get_iopub_msg(timeout=1)
                break
            except queue.Empty:
                pass
        message_id = self.client.execute("print('all')")
        heard = [c["text"] for k, c in self.until(message_id, other) if k == "stream"]
        self.assertEqual(heard, ["all\n"])
        self.assertEqual(self.client.get_shell_msg(timeout=TIMEOUT)["parent_header"]["msg_id"],
                         message_id)
        self.assertEqual(self.result("2 + 2", other), "4")
        other.stop_channels()

    def test_shutdown_in_a_cell(self):
        message_id = self.client.execute("io.write('here') while true do end")
        self.until(message_id, stop=lambda kind, content: kind == "stream")
        self.client.shutdown()
        for _ in range(TIMEOUT * 20):
            if not self.manager.is_alive():
                break
            time.sleep(0.05)
        self.assertFalse(self.manager.is_alive())
        self.assertEqual(self.manager.provisioner.process.returncode, 0)

    def test_expressions(self):
        reply, _ = self.run_cell("x = 4", user_expressions={"a": "x * x", "b": "x.y.z"})
        self.assertEqual(reply["user_expressions"]["a"]["data"]["text/plain"], "16")
        self.assertEqual(reply["user_expressions"]["b"]["status"], "error")

    def test_silent(self):
        self.run_cell("1")
        reply, found = self.run_cell("quiet = 1; return 5", silent=True)
        self.assertEqual((reply["execution_count"], [k for k, _ in found]), (1, ["status"]))


class Orphan(unittest.TestCase):
    def test_server_that_dies(self):
        """A kernel whose server is killed ends, in a cell too."""
        code = ("import sys, time\n"
                "from jupyter_client.manager import start_new_kernel\n"
                "m, c = start_new_kernel(kernel_name='perilune', startup_timeout=60)\n"
                "c.execute('while true do end')\n"
                "print(m.provisioner.pid, flush=True); time.sleep(600)\n")
        server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        pid = int(server.stdout.readline())
        server.kill()
        server.wait()
        server.stdout.close()
        for _ in range(TIMEOUT * 20):
            try:
                with open("/proc/%d/stat" % pid) as stat:
                    if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                        return
            except FileNotFoundError:
                return
            time.sleep(0.05)
        self.fail("the kernel is still there")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
