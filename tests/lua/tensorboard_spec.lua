local scratch = dofile("tests/lua/support/scratch.lua")
local tensorboard = require("perilune.run.tensorboard")

local read = scratch.read

--- The data of each record, both checksums held against it.
local function records(text)
  local list, at = {}, 1
  while at <= #text do
    local length = string.unpack("<I8", text, at)
    local data = text:sub(at + 12, at + 11 + length)
    assert.are.equal(text:sub(at, at + 15 + length), tensorboard.record(data))
    list[#list + 1] = data
    at = at + 16 + length
  end
  assert.are.equal(#text + 1, at)
  return list
end

teardown(scratch.clean)

describe("crc32c", function()
  it("gives the check values of RFC 3720 B.4", function()
    assert.are.equal(0xe3069283, tensorboard.crc32c("123456789"))
    assert.are.equal(0x8a9136aa, tensorboard.crc32c(("\0"):rep(32)))
    assert.are.equal(0x62a8ab43, tensorboard.crc32c(("\xff"):rep(32)))
    local rising = {}
    for i = 0, 31 do
      rising[i + 1] = string.char(i)
    end
    assert.are.equal(0x46dd794e, tensorboard.crc32c(table.concat(rising)))
    assert.are.equal(0, tensorboard.crc32c(""))
  end)
end)

describe("an event file", function()
  it("has transformers' tags", function()
    assert.are.equal("train/loss", tensorboard.tag("loss"))
    assert.are.equal("eval/loss", tensorboard.tag("eval_loss"))
    assert.are.equal("test/loss", tensorboard.tag("test_loss"))
    assert.are.equal("train/objective/kl", tensorboard.tag("objective/kl"))
    assert.are.equal("train/evaluation", tensorboard.tag("evaluation"))
  end)

  it("is what protoc reads back", function()
    local w = assert(
      tensorboard.open(scratch.folder(), { time = 1700000000, host = "box", start_step = 5 })
    )
    assert.is_truthy(w.path:match("/events%.out%.tfevents%.1700000000%.box%.%d+%.0$"))
    w:scalars(300, { loss = 0.5, eval_score = -2, note = "text" }, 1700000001)
    w:scalars(301, { note = "text" }, 1700000002)
    w:text(302, "samples", "hello", 1700000003)
    w:close()
    w:close()
    local list = records(read(w.path))
    assert.are.equal(4, #list)
    local time = string.pack("<d", 1700000000)
    assert.are.equal("\9" .. time .. "\26\13brain.Event:2", list[1])
    assert.are.equal("\9" .. time .. "\16\5\58\2\8\1", list[2])

    if not os.execute("command -v protoc > /dev/null") then
      pending(
        "protoc is not installed (package protobuf-compiler): not decoded by a second " .. "program"
      )
      return
    end
    local path = scratch.path()
    local expected = {
      '1: 0x41d954fc40400000\n2: 300\n5 {\n  1 {\n    1: "eval/score"\n    2: 0xc0000000\n  }\n'
        .. '  1 {\n    1: "train/loss"\n    2: 0x3f000000\n  }\n}\n',
      '1: 0x41d954fc40c00000\n2: 302\n5 {\n  1 {\n    1: "train/samples"\n    8 {\n      1: 7\n   '
        .. "   2 {\n"
        .. '        2 {\n          1: 1\n        }\n      }\n      8: "hello"\n    }\n    9 {\n   '
        .. "   1 {\n"
        .. '        1: "text"\n      }\n    }\n  }\n}\n',
    }
    for i, text in ipairs(expected) do
      scratch.write(path, list[i + 2])
      local pipe = io.popen("protoc --decode_raw < " .. path)
      assert.are.equal(text, pipe:read("a"))
      pipe:close()
    end
  end)
end)

describe("hyper-parameters", function()
  local settings = {
    kl_coef = 0.05,
    steps = 3,
    flag = true,
    off = false,
    model = "a \u{fc}",
    list = { "x", "y" },
    none = "",
  }

  it("are a summary of the plugin hparams, keys sorted", function()
    local w = assert(tensorboard.open(scratch.folder(), { time = 1700000000, host = "box" }))
    w:hparams({ b = 0.5, a = "x" }, nil, 1700000001)
    w:ended("done", 1700000002)
    w:close()
    local list = records(read(w.path))
    local function time(seconds) return string.pack("<d", seconds) end
    -- HParamsPluginData: 1 version, 3 SessionStartInfo (1 map of Value, 5 time) or 4 SessionEndInfo
    local start = "\8\0\26\35\10\8\10\1a\18\3\26\1x\10\14\10\1b\18\9\17"
      .. time(0.5)
      .. "\41"
      .. time(1700000001)
    assert.are.equal(#start - 4, start:byte(4))
    assert.is_truthy(list[2]:find(start, 1, true))
    assert.is_truthy(list[2]:find("_hparams_/session_start_info", 1, true))
    local ending = "\8\0\34\11\8\1\17" .. time(1700000002)
    assert.is_truthy(list[3]:find(ending, 1, true))
    assert.is_truthy(list[3]:find("_hparams_/session_end_info", 1, true))
  end)

  it("and values are what the tensorboard package reads", function()
    local python = os.getenv("PERILUNE_TENSORBOARD") or "python3"
    if not os.execute(python .. " -c 'import tensorboard' > /dev/null 2>&1") then
      pending("the tensorboard package is not there (PERILUNE_TENSORBOARD names a Python with it)")
      return
    end
    local folder, out = scratch.folder(), scratch.path()
    local w = assert(tensorboard.open(folder))
    w:hparams(settings, nil, 1700000001)
    local values = {}
    for step = 1, 50 do
      local as_float = string.unpack("<f", string.pack("<f", math.sin(step) / 3))
      values[step] = { step, as_float }
      w:scalars(step, { loss = math.sin(step) / 3, eval_score = step, bad = 0 / 0 })
    end
    w:text(7, "samples", "hello **you**")
    w:ended("failed", 1700000002)
    w:close()
    local command = "%s tests/golden/read_tensorboard.py %s > %s 2> /dev/null"
    assert(os.execute(command:format(python, folder, out)))
    local found = require("perilune.base.json").decode(read(out))
    assert.are.same(
      { "eval/score", "train/bad", "train/loss" },
      (function()
        local names = {}
        for name in pairs(found.scalars) do
          names[#names + 1] = name
        end
        table.sort(names)
        return names
      end)()
    )
    assert.are.same(values, found.scalars["train/loss"])
    assert.are.same({ { 7, "hello **you**" } }, found.texts["train/samples"])
    assert.are.same({
      kl_coef = 0.05,
      steps = 3.0,
      flag = true,
      off = false,
      model = "a \u{fc}",
      list = "x,y",
      none = "",
    }, found.hparams)
    assert.are.same({ 1700000001.0, 2 }, { found.started, found.status })
  end)
end)
