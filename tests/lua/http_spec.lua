--- The web server of `perilune watch` from outside: who is let in, what comes back, events.

local core = require("perilune.core")
local scratch = dofile("tests/lua/support/scratch.lua")
local system = core.system

local TOKEN <const> = ("0123456789abcdef"):rep(2)

-- Sends bytes to a port of this machine and keeps what comes back; the rest in the shell's words.
local SEND <const> = [[
exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
cat "$2" >&3
timeout "$4" cat <&3 >"$3"
exit 0]]

describe("the web server", function()
  local server, dir, port, count

  before_each(function()
    dir, count = scratch.folder(), 0
    server = assert(core.http.open { token = TOKEN })
    port = server:address():match("^http://127%.0%.0%.1:(%d+)/" .. TOKEN .. "/$")
  end)

  after_each(function()
    server:close()
    scratch.clean()
  end)

  -- Begins a request; its bytes, or what differs from a plain GET.
  local function send(of, seconds)
    count = count + 1
    local text = of
    if type(of) == "table" then
      local lines = {
        ("%s %s HTTP/1.1"):format(of.method or "GET", of.path or "/" .. TOKEN .. "/"),
        "Host: " .. (of.host or "127.0.0.1:" .. port),
      }
      for _, line in ipairs(of) do
        lines[#lines + 1] = line
      end
      if of.body then lines[#lines + 1] = "Content-Length: " .. #of.body end
      text = table.concat(lines, "\r\n") .. "\r\n\r\n" .. (of.body or "")
    end
    local from, to = dir .. "/in" .. count, dir .. "/out" .. count
    scratch.write(from, text)
    local pid = system.spawn(
      { "bash", "-c", SEND, "bash", port, from, to, tostring(seconds or 10) },
      { wait = false, stderr = "/dev/null" }
    )
    return { pid = pid, to = to }
  end

  local function reply(sent)
    system.wait(sent.pid)
    local text = scratch.read(sent.to)
    return math.tointeger(tonumber(text:match("^HTTP/1%.1 (%d+) "))), text
  end

  -- A request that must be answered by the caller: what he sees of it, and what the client gets.
  local function through(of)
    local sent = send(of)
    local request
    for _ = 1, 100 do
      request = server:next(0.1)
      if request then break end
    end
    assert(request, "no request came")
    server:answer(request.number, 200, "text/plain", "hello", "default-src 'self'")
    local status, text = reply(sent)
    return request, status, text
  end

  it("hands on a request and its answer, which names no other place", function()
    local request, status, text = through { path = "/" .. TOKEN .. "/some/where?a=1&b=%20" }
    assert.are.same({
      number = 1,
      method = "GET",
      path = "some/where",
      query = "a=1&b=%20",
      body = "",
    }, request)
    assert.are.equal(200, status)
    assert.are.equal("hello", text:match("\r\n\r\n(.*)$"))
    for _, line in ipairs {
      "Content-Security-Policy: default-src 'self'",
      "X-Content-Type-Options: nosniff",
      "Referrer-Policy: no-referrer",
      "Cache-Control: no-store",
      "X-Frame-Options: DENY",
    } do
      assert.is_truthy(text:find("\r\n" .. line .. "\r\n", 1, true), line)
    end
  end)

  it("hands on a body of JSON, with zeros and all", function()
    local body = '{"text":"\0\255"}'
    local request = through {
      method = "POST",
      path = "/" .. TOKEN .. "/do",
      "Content-Type: application/json",
      "Origin: http://localhost:" .. port,
      body = body,
    }
    assert.are.same({ "POST", "do", body }, { request.method, request.path, request.body })
  end)

  local refused = {
    { "no token", 403, { path = "/" } },
    { "a wrong token", 403, { path = "/" .. TOKEN:gsub("f$", "e") .. "/" } },
    { "a part of the token", 403, { path = "/" .. TOKEN:sub(1, 31) } },
    { "a token that goes on", 403, { path = "/" .. TOKEN .. "0/" } },
    { "no token and a way up", 403, { path = "/../" .. TOKEN .. "/" } },
    { "another host", 403, { host = "evil.example" } },
    { "another host with our port", 403, { host = "evil.example:%s" } },
    { "another port", 403, { host = "127.0.0.1:1" } },
    { "another page's origin", 403, { "Origin: http://evil.example" } },
    { "an origin of another port", 403, { "Origin: http://127.0.0.1:1" } },
    { "an origin that is none", 403, { "Origin: null" } },
    { "another method", 405, { method = "DELETE" } },
    { "a form", 415, { method = "POST", "Content-Type: text/plain", body = "{}" } },
    {
      "a body that is too long",
      413,
      { method = "POST", "Content-Type: application/json", body = ("x"):rep(65537) },
    },
    { "a query that is too long", 413, { path = "/" .. TOKEN .. "/?" .. ("x"):rep(1100) } },
  }
  it("refuses foreign hosts and origins, no token, and what is too long", function()
    for _, case in ipairs(refused) do
      local of = case[3]
      if of.host then of.host = of.host:format(port) end
      assert.are.equal(case[2], (reply(send(of))), case[1])
      assert.is_nil(server:next(0))
    end
  end)

  it("refuses a request without a host, and hands on nothing that is no HTTP", function()
    assert.are.equal(403, (reply(send("GET /" .. TOKEN .. "/ HTTP/1.0\r\n\r\n"))))
    local _, text = reply(send("hello\r\n\r\n"))
    assert.is_nil(text:find("200 OK", 1, true))
    assert.is_nil(server:next(0))
  end)

  it("tells events, from the one that was seen last", function()
    server:publish("rows", '{"step":1}')
    server:publish("rows", '{"step":2}')
    assert.are.equal(2, server:events())
    local all = send({ path = "/" .. TOKEN .. "/events?after=0" }, 1.5)
    local some = send({ path = "/" .. TOKEN .. "/events", "Last-Event-ID: 1" }, 1.5)
    local new = send({ path = "/" .. TOKEN .. "/events" }, 1.5)
    for _ = 1, 50 do
      if server:viewers() == 3 then break end
      system.sleep(0.02)
    end
    server:publish("state", "{}")
    local function events(sent)
      local list = {}
      local _, text = reply(sent)
      for id, name, data in text:gmatch("id: (%d+)\nevent: (%w+)\ndata: ([^\n]*)\n\n") do
        list[#list + 1] = id .. name .. data
      end
      return list
    end
    local one, two, three = '1rows{"step":1}', '2rows{"step":2}', "3state{}"
    assert.are.same({ one, two, three }, events(all))
    assert.are.same({ two, three }, events(some))
    assert.are.same({ three }, events(new))
  end)

  it("tells who missed too much to begin anew, and keeps within its bytes", function()
    local long = ("x"):rep(1 << 20)
    local before = core.mem().live
    for _ = 1, 20 do
      server:publish("rows", long)
    end
    assert.is_true(core.mem().live - before <= 10 << 20)
    for _ = 1, 1200 do
      server:publish("rows", "{}")
    end
    assert.are.equal(1220, server:events())
    local _, text = reply(send({ path = "/" .. TOKEN .. "/events?after=3" }, 1.5))
    assert.is_truthy(text:find("event: reload\n", 1, true))
    assert.is_nil(text:find("event: rows", 1, true))
    _, text = reply(send({ path = "/" .. TOKEN .. "/events?after=99999" }, 1.5))
    assert.is_truthy(text:find("event: reload\n", 1, true))
  end)

  it("turns away a ninth viewer, and closes while they look on", function()
    local sent = {}
    for i = 1, 8 do
      sent[i] = send({ path = "/" .. TOKEN .. "/events" }, 20)
    end
    for _ = 1, 100 do
      if server:viewers() == 8 then break end
      system.sleep(0.02)
    end
    assert.are.equal(8, server:viewers())
    assert.are.equal(503, (reply(send { path = "/" .. TOKEN .. "/events" })))
    server:close()
    for _, one in ipairs(sent) do
      assert.are.equal(200, (reply(one)))
    end
  end)

  it("gives its memory back, closed twice or with a request that waits", function()
    local live = core.mem().live
    local other = assert(core.http.open {})
    assert.is_true(core.mem().live > live)
    other:close()
    other:close()
    assert.are.equal(live, core.mem().live)
    send({}, 5)
    system.sleep(0.2)
    server:close()
    assert.has_error(
      function() server:next(0) end,
      "calling 'next' on bad self (the server was closed)"
    )
  end)

  it("says when memory is out, and goes on with what there was", function()
    local live, opened = core.mem().live, nil
    for k = 1, 10 do
      core.mem_fail_at(k)
      local ok, other = pcall(core.http.open, {})
      core.mem_fail_at(0)
      if ok then
        other:close()
        opened = k
        break
      end
      assert.is_truthy(tostring(other):find("memory", 1, true))
      assert.are.equal(live, core.mem().live)
    end
    assert.are.equal(3, opened) -- the server, the bodies
    core.mem_fail_at(1)
    assert.is_false((pcall(server.publish, server, "rows", "{}")))
    core.mem_fail_at(0)
    assert.are.equal(0, server:events())
    server:publish("rows", "{}")
    assert.are.equal(1, server:events())
  end)

  it("says what is wrong", function()
    local none, message = core.http.open { port = math.tointeger(tonumber(port)) }
    assert.is_nil(none)
    assert.is_truthy(
      message:find("port " .. port .. " of 127.0.0.1 cannot be listened on", 1, true)
    )
    assert.has_error(
      function() server:answer(7, 200, "text/plain", "") end,
      "request 7 waits for no answer"
    )
    assert.has_error(function() server:publish("rows", "a\nb") end, "an event is one line")
    none, message = core.http.open { token = "abc" }
    assert.is_nil(none)
    assert.are.equal("a token has 32 hexadecimal digits", message)
  end)
end)
