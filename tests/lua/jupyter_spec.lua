--- The notebook kernel without its sockets: what it answers to which message. With them, and with
-- Jupyter's clients, it is held by tests/jupyter/kernel_test.py.

local core = require("perilune.core")
local figures = require("perilune.jupyter.figures")
local host = require("perilune.host")
local input = require("perilune.jupyter.input")
local json = require("perilune.base.json")
local jupyter = require("perilune.jupyter")
local pl = require("perilune")
local place = require("perilune.jupyter.place")
local scratch = dofile("tests/lua/support/scratch.lua")

--- Sockets that hold what is to be received and keep what is sent.
local function fake_sockets(inbox)
  local sockets = { sent = {}, inbox = inbox }
  function sockets:receive() return table.remove(self.inbox, 1) end
  function sockets:parent(header) self.answered = header end
  function sockets:send(channel, identities, header, parent, metadata, content)
    self.sent[#self.sent + 1] = {
      channel = channel,
      identities = identities,
      header = json.decode(header),
      parent = json.decode(parent),
      metadata = metadata,
      content = json.decode(content),
      text = content,
    }
  end
  return sockets
end

local number = 0
local function request(kind, content, channel)
  number = number + 1
  return {
    channel = channel or "shell",
    identities = { "who\0asked" },
    header = json.encode { msg_id = "m" .. number, msg_type = kind, session = "theirs" },
    parent = "{}",
    metadata = "{}",
    content = json.encode(content),
  }
end

local about = {
  session = "ours",
  user = "",
  token = function()
    number = number + 1
    return "id" .. number
  end,
}

local function new_kernel(inbox)
  local sockets = fake_sockets(inbox or {})
  return jupyter.kernel.new(sockets, about, setmetatable({}, { __index = _G })), sockets
end

--- Answers to one message: the reply's content, and what went to all as { type, content }.
local function ask(made, kind, content)
  local sockets = made.sockets
  sockets.sent = {}
  made:answer(request(kind, content))
  local reply, heard = nil, {}
  for _, message in ipairs(sockets.sent) do
    if message.channel == "iopub" then
      heard[#heard + 1] = { message.header.msg_type, message.content }
    else
      reply = message.content
    end
  end
  return reply, heard
end

local function kinds(heard)
  local list = {}
  for i, one in ipairs(heard) do
    list[i] = one[1]
  end
  return table.concat(list, " ")
end

describe("a notebook kernel", function()
  local folder
  local getenv = os.getenv
  setup(function()
    folder = scratch.folder()
    -- The history of whoever runs the tests stays as it is.
    rawset(os, "getenv", function(name)
      if name == "XDG_STATE_HOME" then return folder .. "/state" end
      return getenv(name)
    end)
  end)
  teardown(function()
    rawset(os, "getenv", getenv)
    scratch.remove(folder)
  end)

  it("answers a cell with its value, between busy and idle", function()
    local made, sockets = new_kernel()
    local reply, heard = ask(made, "execute_request", { code = "local x = 20; x = x * 2" })
    assert.are.equal("status execute_input status", kinds(heard))
    assert.are.same({ "ok", 1 }, { reply.status, reply.execution_count })
    reply, heard = ask(made, "execute_request", { code = "x + 2, 'a'" })
    assert.are.equal("status execute_input execute_result status", kinds(heard))
    assert.are.same({ ["text/plain"] = '42\t"a"' }, heard[3][2].data)
    assert.are.equal(2, reply.execution_count)
    local last = sockets.sent[#sockets.sent]
    assert.are.equal("idle", last.content.execution_state)
    assert.are.same({ "ours", "5.3" }, { last.header.session, last.header.version })
    assert.are.equal("m", last.parent.msg_id:sub(1, 1))
    assert.are.equal("theirs", last.parent.session)
    assert.are.equal("{}", last.metadata)
    for _, message in ipairs(sockets.sent) do
      local to_all = message.channel == "iopub"
      assert.are.same(
        to_all and { message.header.msg_type } or { "who\0asked" },
        message.identities
      )
    end
  end)

  it("answers an error, and gives back the cells that wait behind it", function()
    local made, sockets = new_kernel()
    sockets.inbox = {
      request("execute_request", { code = "error('no')" }),
      request("execute_request", { code = "never = 1" }),
      request("kernel_info_request", {}),
      request("execute_request", { code = "error('no')", stop_on_error = false }),
      request("shutdown_request", { restart = true }, "control"),
    }
    local control = table.remove(sockets.inbox)
    made:answer(table.remove(sockets.inbox, 1))
    local found = {}
    for _, message in ipairs(sockets.sent) do
      if message.channel == "shell" then found[#found + 1] = message.content.status end
      if message.header.msg_type == "error" then
        assert.are.same({ "repl:1: no", { "repl:1: no" } }, {
          message.content.evalue,
          message.content.traceback,
        })
      end
    end
    assert.are.same({ "error", "aborted", "aborted" }, found)
    sockets.inbox = { request("execute_request", { code = "late = 1" }), control }
    sockets.sent = {}
    made:serve() -- what waited, the control channel first: so the last cell does not run
    found = {}
    for _, message in ipairs(sockets.sent) do
      local kind = message.header.msg_type
      if kind:find("_reply$") then found[#found + 1] = kind end
    end
    assert.are.same({ "shutdown_reply" }, found)
    assert.is_nil(made.talk.env.late)
    assert.is_nil(made.talk.env.never)
  end)

  it("shows charts as pictures, and other values beside them", function()
    local made = new_kernel()
    local code = "pl.plot.chart { title = 'a < b', series = { { x = { 1, 2 }, y = { 3, 4 } } } }, 7"
    local _, heard = ask(made, "execute_request", { code = code })
    assert.are.equal("status execute_input display_data execute_result status", kinds(heard))
    local svg = heard[3][2].data["image/svg+xml"]
    assert.is_truthy(svg:find('xmlns="http://www.w3.org/2000/svg"', 1, true))
    local _, styles = svg:gsub("<style>", "")
    assert.are.equal(1, styles)
    assert.is_truthy(svg:find(".pl{background:#fff;max-width:480px}", 1, true))
    assert.is_falsy(svg:find("@media", 1, true))
    assert.are.equal("a < b", heard[3][2].data["text/plain"])
    assert.are.same({ ["text/plain"] = "7" }, heard[4][2].data)
    _, heard = ask(made, "execute_request", { code = ":plot pl.arange(3), { 1, 4, 9 }" })
    assert.are.equal("status execute_input display_data status", kinds(heard))
    svg = heard[3][2].data["image/svg+xml"]
    assert.is_truthy(svg:find(".pl{background:#fff;max-width:480px}", 1, true))
    assert.is_falsy(svg:find("@media", 1, true))
    local reply = ask(made, "execute_request", { code = ":plot 'text'" })
    assert.are.equal(":plot: a tensor or a list of numbers is wanted, or two", reply.evalue)
    local run = folder .. "/run"
    assert(pl.files.folder_make(run))
    assert(
      pl.files.write_atomic(run .. "/metrics.jsonl", '{"step":1,"a/kl":2}\n{"step":5,"a/kl":3}\n')
    )
    _, heard = ask(made, "execute_request", { code = ":plot " .. run .. " a/kl" })
    assert.are.equal("status execute_input display_data status", kinds(heard))
    assert.is_truthy(heard[3][2].data["image/svg+xml"]:find("<svg", 1, true))
    assert.are.equal(run .. " a/kl", heard[3][2].data["text/plain"])
    reply = ask(made, "execute_request", { code = ":plot " .. run .. " kl" })
    assert.are.equal(run .. " has no metric 'kl'; did you mean 'a/kl'?", reply.evalue)
    _, heard = ask(made, "execute_request", { code = "for i = 1, 2 do display(i) end" })
    assert.are.equal("status execute_input display_data display_data status", kinds(heard))
    assert.are.same({ ["text/plain"] = "2" }, heard[4][2].data)
  end)

  it("completes, describes and judges what is typed", function()
    local made = new_kernel()
    local reply = ask(made, "complete_request", { code = "-- ä\npl.zer", cursor_pos = 11 })
    assert.are.same({ { "zeros" }, 8, 11 }, {
      reply.matches,
      reply.cursor_start,
      reply.cursor_end,
    })
    reply = ask(made, "complete_request", { code = "no.such.thing", cursor_pos = 13 })
    assert.are.equal(0, #reply.matches)
    reply = ask(made, "inspect_request", { code = "y = pl.matmul(a, b)", cursor_pos = 16 })
    assert.is_true(reply.found)
    assert.is_truthy(reply.data["text/plain"]:find("transpose_a", 1, true))
    for _, code in ipairs { "no_such_name", "", "1 + 1", "((" } do
      reply = ask(made, "inspect_request", { code = code, cursor_pos = 3 })
      assert.are.same({ "ok", false }, { reply.status, reply.found })
    end
    local cases = {
      ["x = 1"] = "complete",
      ["1 1"] = "invalid",
      [""] = "complete",
      ["for i = 1, 2 do"] = "incomplete",
    }
    for code, status in pairs(cases) do
      assert.are.equal(status, ask(made, "is_complete_request", { code = code }).status)
    end
    assert.are.equal("  ", ask(made, "is_complete_request", { code = "if x then" }).indent)
  end)

  it("tells its history by tail, range and search", function()
    local made = new_kernel()
    local before = #made.record.rows
    for _, code in ipairs { "1 + 1", "2 * 2", "1 + 1", "'x'" } do
      ask(made, "execute_request", { code = code })
    end
    ask(made, "execute_request", { code = "hidden", silent = true })
    ask(made, "execute_request", { code = "hidden", store_history = false })
    local function find(asked) return ask(made, "history_request", asked).history end
    assert.are.equal(before + 4, #made.record.rows)
    assert.are.same(
      { { 2, 3, "1 + 1" }, { 2, 4, "'x'" } },
      find { hist_access_type = "tail", n = 2 }
    )
    assert.are.same(
      { { 2, 1, { "1 + 1", "2" } } },
      find {
        hist_access_type = "range",
        session = 0,
        start = 1,
        stop = 2,
        output = true,
      }
    )
    local found = find { hist_access_type = "search", pattern = "1 ? *", unique = true, n = 9 }
    assert.are.same({ 2, 3, "1 + 1" }, found[#found])
    assert.are.same({}, find { hist_access_type = "search", pattern = "%d%s", n = 3 })
    assert.are.same({}, find { hist_access_type = "never heard of" })
  end)

  it("does not answer what makes no sense, and answers what else there is", function()
    local made, sockets = new_kernel()
    for _, wire in ipairs {
      {},
      { header = "{", content = "{}" },
      { header = "[]", content = "{}" },
      { header = '{"msg_type":5}', content = "{}" },
      { header = '{"msg_type":"execute_request"}', content = "5" },
    } do
      made:answer(wire)
    end
    assert.are.same({}, sockets.sent)
    local _, heard = ask(made, "never_heard_of", {})
    assert.are.equal("status status", kinds(heard))
    _, heard = ask(made, "comm_open", { comm_id = "c", target_name = "t" })
    assert.are.equal("status comm_close status", kinds(heard))
    local info = ask(made, "kernel_info_request", {})
    assert.are.same({ "lua", ".lua", "5.3" }, {
      info.language_info.name,
      info.language_info.file_extension,
      info.protocol_version,
    })
    ask(made, "comm_info_request", {})
    assert.is_truthy(sockets.sent[2].text:find('"comms": ?{}'))
    for _, content in ipairs { {}, { code = 5 }, { code = { 1 } }, { user_expressions = 3 } } do
      assert.is_string(ask(made, "execute_request", content).status)
      assert.is_string(ask(made, "complete_request", content).status)
      assert.is_string(ask(made, "inspect_request", content).status)
    end
  end)

  it("reads places in characters", function()
    assert.are.equal("ä", place.before("äöü", 1))
    assert.are.equal("", place.before("äöü", 0))
    assert.are.equal("äöü", place.before("äöü", 3))
    assert.are.equal("äöü", place.before("äöü"))
    assert.are.equal("a\xff", place.before("a\xff", 1)) -- no UTF-8: the whole
    assert.are.equal("pl.matmul", place.topic("pl.matmul(f(1), ", 16))
    assert.are.equal("pl.matmul", place.topic("?pl.matmul", 10))
    assert.are.equal("pl.matmul", place.topic("pl.matmul", 5))
    assert.are.equal("f", place.topic("f { a = 1, ", 11))
    assert.is_nil(place.topic("", 0))
    assert.are.equal("    ", place.indent("for i = 1, 2 do\n  while x do -- so\n"))
    assert.are.equal("  ", place.indent("f(function(a, b)"))
    assert.are.equal("", place.indent("x = 1 +"))
  end)

  it("takes a chart for a chart and nothing else", function()
    assert.is_nil(figures.svg("<svg"))
    assert.is_nil(figures.svg("a text with <svg></svg> in it"))
    assert.is_nil(figures.svg(5))
    local own = '<svg xmlns="x"><g/></svg>'
    assert.are.equal(own, figures.svg(own))
    assert.is_truthy(figures.curve({ n = 1, pl.arange(4) }, "t"):find("<svg", 1, true))
    assert.are.same(
      { nil, "1 places and 2 values" },
      { figures.curve({ n = 2, { 1 }, { 1, 2 } }, "t") }
    )
    assert.is_nil((figures.curve({ n = 1, {} }, "t")))
    assert.is_nil((figures.curve({ n = 0 }, "t")))
  end)

  it("reads lines, numbers and characters of answers", function()
    local read, lines, stdin = io.read, io.lines, io.stdin
    local answers = { "one", "2 ", "three", "", "six" }
    input.install(function() return table.remove(answers, 1) or error("nobody answers", 0) end)
    local got = table.pack(
      pcall(
        function()
          return io.read(), io.read("n"), io.read(2), io.read("L"), io.stdin:read("l"), io.read("a")
        end
      )
    )
    local none, message = pcall(io.read)
    local form, wrong = pcall(io.read, "x")
    rawset(io, "read", read)
    rawset(io, "lines", lines)
    rawset(io, "stdin", stdin)
    assert.are.same({ true, "one", 2, "th", "ree\n", "", "six\n", n = 7 }, got)
    assert.are.same({ false, "nobody answers" }, { none, message })
    assert.is_false(form)
    assert.is_truthy(wrong:find("io.read: there is no format x", 1, true))
  end)

  it("reads connection files, and says what is wrong with one", function()
    local path = folder .. "/connection.json"
    local good = {
      transport = "tcp",
      ip = "127.0.0.1",
      shell_port = 5001,
      iopub_port = 5002,
      stdin_port = 5003,
      control_port = 5004,
      hb_port = 5005,
      key = "k",
      signature_scheme = "hmac-sha256",
    }
    local function read(changed)
      local file = {}
      for key, value in pairs(good) do
        file[key] = value
      end
      for key, value in pairs(changed) do
        file[key] = value
      end
      scratch.write(path, json.encode(file))
      local found, message = jupyter.connection.read(path)
      return found or message:gsub("^.*connection%.json: ", "")
    end
    assert.are.same({
      key = "k",
      shell = "tcp://127.0.0.1:5001",
      iopub = "tcp://127.0.0.1:5002",
      stdin = "tcp://127.0.0.1:5003",
      control = "tcp://127.0.0.1:5004",
      heartbeat = "tcp://127.0.0.1:5005",
    }, read {})
    assert.are.equal("ipc:///x-5001", read({ transport = "ipc", ip = "/x" }).shell)
    assert.are.equal("", read({ key = "", signature_scheme = "" }).key)
    assert.are.equal("transport is pgm; tcp or ipc is wanted", read { transport = "pgm" })
    assert.are.equal(
      "messages are signed by hmac-sha256, not hmac-md5",
      read {
        signature_scheme = "hmac-md5",
      }
    )
    assert.are.equal("hb_port is 0; a port is wanted", read { hb_port = 0 })
    assert.are.equal("shell_port is x; a port is wanted", read { shell_port = "x" })
    assert.are.equal("ip and key have to be texts", read { key = 5 })
    scratch.write(path, "{")
    assert.is_nil((jupyter.connection.read(path)))
    scratch.write(path, "[]")
    assert.is_nil((jupyter.connection.read(path)))
    assert.is_nil((jupyter.connection.read(folder .. "/none.json")))
  end)

  it("is installed for a prefix, and says how it is called", function()
    local path = assert(jupyter.kernelspec.install(folder .. "/prefix"))
    assert.are.equal(folder .. "/prefix/share/jupyter/kernels/perilune/kernel.json", path)
    local spec = json.decode(scratch.read(path))
    assert.are.same({ host.executable, "jupyter", "kernel", "{connection_file}" }, spec.argv)
    assert.are.equal("signal", spec.interrupt_mode)
    local function program(...)
      core.system.spawn(
        { host.executable, "jupyter", ... },
        { stdin = "/dev/null", stdout = folder .. "/out", stderr = folder .. "/err" }
      )
      return scratch.read(folder .. "/err")
    end
    assert.is_truthy(program():find("^perilune jupyter: install or kernel%? usage: "))
    assert.is_truthy(program("install", "--all"):find("'--all' is not known", 1, true))
    assert.is_truthy(program("kernel"):find("which connection file?", 1, true))
    local missing = program("kernel", folder .. "/none.json")
    assert.is_truthy(missing:find("none.json", 1, true))
    assert.is_falsy(missing:find("traceback", 1, true))
  end)
end)
