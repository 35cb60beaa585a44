--- The REPL in a terminal, driven through tmux: paste, completion, blocks, history, frames, Ctrl-C,
-- at three widths. Screens are waited for, never timed.
local host = require("perilune.host")
local scratch = dofile("tests/lua/support/scratch.lua")
local system = require("perilune.core").system

local PATIENCE <const> = 15

local has_tmux = system.spawn({ "sh", "-c", "command -v tmux" }, { stdout = "/dev/null" }) == "exit"
  and os.execute("command -v tmux > /dev/null 2>&1")

local state, server

local function tmux(...)
  local out = scratch.path()
  system.spawn(
    { "tmux", "-L", server, "-f", "/dev/null", ... },
    { stdout = out, stderr = "/dev/null", stdin = "/dev/null" }
  )
  local file = assert(io.open(out))
  local text = file:read("a")
  file:close()
  return text
end

local function screen() return (tmux("capture-pane", "-p", "-J", "-t", "s"):gsub("%s+$", "")) end

-- Waits until the screen has a text; returns the screen.
local function wait(text)
  local patience = system.monotonic() + PATIENCE
  while true do
    local now = screen()
    if now:find(text, 1, true) then return now end
    if system.monotonic() > patience then
      error(("the screen never had %q:\n%s"):format(text, now), 2)
    end
    system.sleep(0.02)
  end
end

local function keys(...) tmux("send-keys", "-t", "s", ...) end

local function typed(text) tmux("send-keys", "-t", "s", "-l", text) end

-- Types a line and waits for what it shows.
local function line(text, answer)
  typed(text)
  keys("Enter")
  return wait(answer)
end

local function start(columns, more)
  tmux("kill-session", "-t", "s")
  local command = ("env XDG_STATE_HOME=%s XDG_CONFIG_HOME=%s LC_ALL=C.UTF-8 %s '%s' -i"):format(
    state,
    state,
    more or "",
    host.executable
  )
  tmux("new-session", "-d", "-s", "s", "-x", tostring(columns), "-y", "40", command)
  wait("\n>")
end

describe("the prompt in a terminal", function()
  if not has_tmux then
    pending("tmux is not installed")
    return
  end

  setup(function()
    state = scratch.path()
    -- A server without sessions would end while the next one asks for it: "keep" stays.
    server = ("perilune%d"):format(math.tointeger(system.monotonic() * 1e6 // 1))
    tmux("new-session", "-d", "-s", "keep", "sleep 600")
  end)

  teardown(function() tmux("kill-server") end)

  it("takes a pasted block as one entry, which the history gives back as one", function()
    start(80)
    tmux("set-buffer", "local total = 0\nfor i = 1, 4 do\n\ttotal = total + i\nend\ntotal * 100")
    tmux("paste-buffer", "-p", "-t", "s")
    wait("total * 100")
    assert.falsy(screen():find("1000", 1, true)) -- nothing ran yet
    keys("Enter")
    wait("1000")
    line("total = 7", "total = 7")
    keys("Up", "Up")
    typed(" + 1")
    keys("Enter")
    wait("1001")
  end)

  it("goes on until a block is complete; Ctrl-C drops it, Ctrl-R searches", function()
    line("for i = 1, 2 do", "\n>>")
    line("print('round', i)", ">> print")
    line("end", "round   2")
    line("while true do", "while true do")
    keys("C-c")
    wait("^C")
    line("n = (n or 0) + 3; n * 1111", "3333")
    line("6 * 111", "666")
    keys("C-r")
    typed("(n or")
    wait("bck:(n or")
    keys("Enter") -- ends the search
    keys("Enter")
    wait("6666")
    line("7 * 111", "777")
  end)

  for _, columns in ipairs { 60, 120 } do
    it(("completes at %d columns"):format(columns), function()
      start(columns)
      typed("pl.stats.me")
      keys("Tab")
      keys("Tab")
      wait("mean")
      local list = screen():match("\n([^\n]*mean[^\n]*median[^\n]*)\n")
      assert.truthy(list, screen())
      typed("an")
      keys("C-u")
      typed("pl.")
      keys("Tab")
      for text in wait("zeros"):gmatch("[^\n]+") do
        assert(utf8.len(text) <= columns, text)
      end
      keys("C-u")
      typed('#require("perilune.repl.lo')
      keys("Tab")
      wait("perilune.repl.locals")
      keys("C-u")
      typed("pl.matmul(a, b, { transpose_a = true, tr")
      keys("Tab")
      wait("transpose_b")
      keys("C-u")
      line("t = { ['two words'] = 4321 }", "t = ")
      typed('t["tw')
      keys("Tab")
      typed('"]')
      keys("Enter")
      wait("4321")
      typed(":tim")
      keys("Tab")
      typed("it 1")
      keys("Enter")
      wait("median")
      typed("$ ls tests/CMakeL")
      keys("Tab")
      wait("tests/CMakeLists.txt")
      keys("C-u")
    end)
  end

  it("looks at the calls of an error", function()
    start(80)
    line("local function inner(a) local b = a * 2; return b + nil end", "b + nil end")
    line("local function outer(n) local r = inner(n); return r end", "return r end")
    line("outer(21)", "(:up, :down, :locals look at these calls)")
    line(":frame 1", "frame 1>")
    line("b + 1000", "1042")
    line(":up", "frame 2>")
    line("n + 2000", "2021")
    line(":leave", "\n>")
    line("'back', b", '"back"  nil')
  end)

  for name, text in pairs {
    loop = "while true do end",
    pattern = "string.find(('a'):rep(60), ('a-'):rep(40) .. 'b')",
    product = "for i = 1, 1e9 do local s <close> = pl.scope() pl.matmul(big, big) end",
    sort = "while true do local l = {} for i = 1, 1e5 do l[i] = -i end table.sort(l) end",
  } do
    it("stops at Ctrl-C and keeps its tensors: " .. name, function()
      start(80)
      line("big = pl.full({ 600, 600 }, 2); big:sum():item()", "720000")
      typed(text)
      keys("Enter")
      system.sleep(0.2)
      keys("C-c")
      wait("interrupted")
      line("big:sum():item() + 1", "720001")
    end)
  end

  it("is plain under TERM=dumb, and shows an rc file's error", function()
    local lfs = require("lfs")
    lfs.mkdir(state)
    lfs.mkdir(state .. "/perilune")
    scratch.write(state .. "/perilune/rc.lua", "local from_rc = 5\nerror('rc is wrong')\n")
    start(60, "TERM=dumb")
    wait("rc is wrong")
    line("from_rc + 400", "405")
    line(":plot { 1, 2, 3 }", "*")
    os.remove(state .. "/perilune/rc.lua")
  end)
end)
