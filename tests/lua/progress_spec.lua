local format = require("perilune.base.format")
local progress = require("perilune.run.progress")

--- A progress line with a clock of our own, writing into a list.
local function make(options)
  local now, written = { 0 }, {}
  options.clock = function() return now[1] end
  options.out = {
    write = function(_, ...) written[#written + 1] = table.concat { ... } end,
    flush = function() end,
  }
  options.color = options.color or false
  return progress.new(options), now, written
end

describe("progress", function()
  it("on a terminal redraws one line with bar, rate, time left and figures", function()
    local p, now, written = make { label = "ppo", total = 300, tty = true, width = 120 }
    now[1] = 40
    p:update(120, { loss = 0.312, reward = 1.24 })
    assert.are.same({
      "\r\27[Kppo   40 % ━━━━━━━━────────────  120/300  3 step/s  1m 00s left  loss 0.3120  "
        .. "reward 1.240",
    }, written)
    now[1] = 40.05
    p:update(121)
    assert.are.equal(1, #written)
    now[1] = 100
    p:update(300, { loss = 0.3 })
    p:finish()
    p:finish()
    assert.are.equal(3, #written)
    assert.is_truthy(written[3]:find("100 %", 1, true))
    assert.is_truthy(written[3]:find("took 1m 40s  loss 0.3000  reward 1.240\n", 1, true))
  end)

  it("elsewhere writes a line now and then, without control codes", function()
    local p, now, written = make {
      label = "sft",
      total = 100,
      tty = false,
      every = 10,
      unit = "batch",
    }
    for i = 1, 30 do
      now[1] = i
      p:update(i)
    end
    p:finish()
    assert.are.equal(4, #written)
    assert.are.equal("sft    1 %  1/100  1 batch/s  1m 39s left\n", written[1])
    assert.are.equal("sft   11 %  11/100  1 batch/s  1m 29s left\n", written[2])
    for _, text in ipairs(written) do
      assert.is_nil(text:find("[\r\27]"))
    end
  end)

  it(
    "shows seconds a step when steps are slow, and no share when the total is not known",
    function()
      local p, now, written = make { label = "x", tty = false }
      now[1] = 8
      p:update(2)
      assert.are.equal("x  2 steps  4 s/step\n", written[1])
    end
  )

  it("cuts figures that do not fit", function()
    local p, now = make { label = "ppo", total = 10, tty = true, width = 40 }
    now[1] = 1
    p:update(5, { aaaaaaaaaaaaaaaaaaaa = 1, b = 2 })
    assert.is_true(format.width(p:line()) <= 39)
    assert.is_nil(p:line():find("aaaa", 1, true))
  end)

  it("keeps the figures at 80 columns, and leaves bar and pace out first", function()
    local p, now = make { label = "", total = 2000, unit = "iteration", tty = true, width = 80 }
    for i = 1, 3 do
      now[1] = 3.5 * i
      p:update(120 * i, { score = -12.345, kl = 0.123456, length = 61.25, reward = 3.25 })
    end
    local line = p:line()
    assert.is_true(format.width(line) <= 79)
    for _, name in ipairs { "score", "kl", "length", "reward" } do
      assert.is_truthy(line:find(name, 1, true), line)
    end
    assert.is_nil(line:find("━", 1, true))
    p.width = 200
    assert.is_truthy(p:line():find(("━"):rep(3), 1, true))
  end)

  it("prints no control characters of a message", function()
    local p, _, written = make { label = "x", tty = false }
    p:print("an\27[2Janswer\r\0\194\155 é\n\t.")
    assert.are.equal("an\\x1B[2Janswer\\x0D\\x00\\x9B é\n\t.\n", table.concat(written))
  end)

  it("smooths what it is asked to, without the bias of the start", function()
    local p, now = make { label = "x", tty = false, smooth = { "loss" } }
    now[1] = 1
    p:update(1, { loss = 4, kl = 4 })
    assert.are.equal("x  1 step  1 step/s  kl 4  loss 4", p:line())
    now[1] = 2
    p:update(2, { loss = 2, kl = 2 })
    assert.are.equal(
      ("x  2 steps  1 step/s  kl 2  loss " .. "%.3f"):format((0.9 * 0.1 * 4 + 0.1 * 2) / 0.19),
      p:line()
    )
  end)

  it("counts a resumed loop from where it begins", function()
    local p, now = make { label = "x", total = 100, first = 50, tty = false }
    now[1] = 10
    p:update(60)
    assert.are.equal("x   60 %  60/100  1 step/s  40.0 s left", p:line())
  end)

  it("lets messages pass", function()
    local p, now, written = make { label = "x", total = 2, tty = true, width = 80 }
    now[1] = 1
    p:update(1)
    p:print("hello")
    assert.are.equal("\r\27[K", written[2])
    assert.are.equal("hello\n", written[3])
    assert.are.equal(written[1], written[4])
  end)

  it("is silent when asked", function()
    local p, _, written = make { label = "x", total = 2, tty = true, quiet = true }
    p:update(1)
    p:finish()
    assert.are.same({}, written)
  end)
end)

describe("format", function()
  it("has no minus before what is shown as 0", function()
    local fixed = format.fixed
    assert.are.same({ "0.00", "+0.000", "-0.01", "0", "+0.5", "nan" }, {
      fixed("%.2f", -0.004),
      fixed("%+.3f", -0.0004),
      fixed("%.2f", -0.006),
      fixed("%.0f", -0.0),
      fixed("%+.1f", 0.5),
      (fixed("%.1f", 0 / 0):gsub("-", "")),
    })
  end)

  it("writes commands that a shell reads as they are meant", function()
    local words = { "perilune", "run", "a/b-1.lua", "--model", "ou t/it's", "", "$HOME" }
    local want = "perilune run a/b-1.lua --model 'ou t/it'\\''s' '' '$HOME'"
    assert.are.equal(want, format.command(words))
    local pipe = assert(io.popen("printf '%s|' " .. format.command(words)))
    assert.are.equal(table.concat(words, "|") .. "|", pipe:read("a"))
    pipe:close()
  end)

  it("exact reads back to the last bit, and is short", function()
    for _, x in ipairs { 0.1, 1 / 3, 1e300, 5e-324, 0.1 + 0.2, -2.5, 2 ^ 53, 1e-5, 12 } do
      assert.are.equal(x, tonumber(format.exact(x)))
    end
    assert.are.equal("0.1", format.exact(0.1))
    assert.are.equal("5", format.exact(5.0))
    assert.are.equal("0.30000000000000004", format.exact(0.1 + 0.2))
    assert.are.equal("nan", format.exact(0 / 0))
    assert.are.equal("-inf", format.exact(-math.huge))
  end)

  it("number keeps so many digits", function()
    local cases = {
      [0.05] = "0.05000",
      [1.5] = "1.500",
      [123.456] = "123.5",
      [1234.56] = "1235",
      [12] = "12",
      [1e-5] = "1.000e-5",
      [1e7] = "1.000e7",
      [-3.25] = "-3.250",
      [0] = "0",
      [0.00012345] = "0.0001234",
    }
    for x, text in pairs(cases) do
      assert.are.equal(text, format.number(x))
    end
    assert.are.equal("0.31", format.number(0.312, 2))
  end)

  it("counts, bytes, durations", function()
    assert.are.same({ "950", "12.3k", "1.00M", "1.05M", "-2.10G" }, {
      format.count(950),
      format.count(12345),
      format.count(999999),
      format.count(1.05e6),
      format.count(-2.1e9),
    })
    assert.are.same(
      { "512 B", "1.50 KiB", "1.00 GiB" },
      { format.bytes(512), format.bytes(1536), format.bytes(2 ^ 30) }
    )
    assert.are.same({ "85 ms", "4.2 s", "3m 20s", "1h 02m", "2d 03h", "1m 00s", "?" }, {
      format.duration(0.085),
      format.duration(4.2),
      format.duration(200),
      format.duration(3720),
      format.duration(183600),
      format.duration(59.97),
      format.duration(math.huge),
    })
  end)

  it(
    "columns are aligned by character, numbers to the right",
    function()
      assert.are.equal(
        table.concat({
          "model  score   n",
          "─────  ─────  ──",
          "base    0.12   8",
          "β-sft  12.00  16",
          "none          16",
        }, "\n"),
        format.columns(
          { { "base", 0.12, 8 }, { "β-sft", 12, 16 }, { "none", nil, 16 } },
          { head = { "model", "score", "n" } }
        )
      )
    end
  )

  it("wraps, cuts and pads by character", function()
    assert.are.same(
      { "ein βeta", "wort", "unteilbarlang" },
      format.wrap("ein βeta  wort\nunteilbarlang", 8)
    )
    assert.are.same({ "" }, format.wrap("", 8))
    assert.are.equal("ββ…", format.truncate("ββββ", 3))
    assert.are.equal("ββββ", format.truncate("ββββ", 4))
    assert.are.equal("漢字…", format.truncate("漢字漢字", 6))
    assert.are.equal("漢字漢字", format.truncate("漢字漢字", 8))
    assert.are.equal("\xFFab…", format.truncate("\xFFabcd", 4))
  end)

  it("cuts at bytes, never within a character", function()
    assert.are.equal("ββ", format.cut("ββ", 4))
    assert.are.equal("β…", format.cut("ββ", 3))
    assert.are.equal("…", format.cut("β", 1))
    assert.are.equal("a…", format.cut("a\u{1F319}", 4))
    assert.are.equal("a\u{1F319}", format.cut("a\u{1F319}", 5))
    assert.are.equal("…", format.cut("ab", 0))
    assert.are.equal(("\x80"):rep(6) .. "…", format.cut(("\x80"):rep(20), 10))
  end)

  it("counts columns of a terminal, not code points", function()
    assert.are.equal(4, format.width("\27[1m漢字\27[0m"))
    assert.are.equal(1, format.width("e\u{301}"))
    assert.are.equal(2, format.width("\xFF\xFE"))
    assert.are.equal("漢  ", format.pad("漢", 4))
    assert.are.equal("  β", format.pad("β", 3, "right"))
    assert.are.equal(" β ", format.pad("β", 3, "centre"))
    assert.are.equal(1, format.width("\27[1mβ\27[0m"))
  end)
end)

describe("format.cells", function()
  it("writes counts in full, however large", function()
    local texts = format.cells { { 10000000, 0.5 }, { 3, 20000000 } }
    assert.are.same({ "10000000", "3" }, { texts[1][1], texts[2][1] })
    assert.are.equal("2.000e7", texts[2][2])
  end)

  it("gives a column the decimals that its numbers need", function()
    local texts, numeric, count = format.cells {
      { "a", 0.11, 0.02, 1.204, 1e-7, 0 / 0 },
      { "b", 0.66, 0.035, 12, 5, 2 },
      { "c", 1 / 3, 0, 1, 0.5 },
    }
    assert.are.same({
      { "a", "0.1100", "0.020", "1.20", "1.000e-7", "nan" },
      { "b", "0.6600", "0.035", "12.00", "5", "2" },
      { "c", "0.3333", "0.000", "1.00", "0.5000", "" },
    }, texts)
    assert.are.same({ nil, true, true, true, true, true }, numeric)
    assert.are.equal(6, count)
  end)
end)
