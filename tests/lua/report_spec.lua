local plot = require("perilune.show.plot")
local report = require("perilune.show.report")

--- How often a plain text occurs in another.
local function count(text, part)
  local n, at = 0, 1
  while true do
    local first, last = text:find(part, at, true)
    if not first then return n end
    n, at = n + 1, last + 1
  end
end

--- Every element that is opened is closed, in order; returns how many there are of each.
local function balance(markup)
  local open, seen = {}, {}
  local void = { meta = true }
  markup = markup:gsub("<!DOCTYPE html>", ""):gsub("<style>.-</style>", "<style></style>")
  for closing, name, rest in markup:gmatch("<(/?)([%a%d]+)([^>]*)>") do
    if closing == "/" then
      assert.are.equal(table.remove(open), name)
    else
      seen[name] = (seen[name] or 0) + 1
      if rest:sub(-1) ~= "/" and not void[name] then open[#open + 1] = name end
    end
  end
  assert.are.same({}, open)
  return seen
end

describe("plot.ticks", function()
  it("are round and cover the range", function()
    assert.are.same({ 0, 20, 40, 60, 80, 100 }, (plot.ticks(0, 100, 5)))
    assert.are.same({ 1, 1.5, 2, 2.5, 3 }, (plot.ticks(0.9, 3.1, 5)))
    assert.are.same({ -1, 0, 1 }, (plot.ticks(-1.2, 1.2, 3)))
    local list, step = plot.ticks(0, 2e-5, 4)
    assert.are.equal(5, #list)
    assert.is_true(math.abs(step - 5e-6) < 1e-18)
  end)
end)

describe("plot.chart", function()
  it("maps values to places", function()
    local svg = plot.chart {
      series = { { x = { 0, 50, 100 }, y = { 0, 5, 10 } } },
      y_min = 0,
      y_max = 10,
      width = 400,
      height = 200,
    }
    -- left is 6.8 · 2 characters + 10, right 400 - 12; top 14, bottom 200 - 22
    local d = svg:match('class="line c1" d="([^"]+)"')
    assert.are.equal("M23.6 178L205.8 96L388 14", d)
    local seen = balance(svg)
    assert.are.equal(1, seen.svg)
  end)

  it("breaks a line at what is not finite, and draws a lone point as a dot", function()
    local svg = plot.chart {
      series = { { x = { 1, 2, 3, 4, 5 }, y = { 1, 2, 0 / 0, 4, math.huge } } },
    }
    assert.are.equal(1, count(svg, 'class="line c1"'))
    assert.are.equal(1, count(svg, "<circle"))
    assert.is_nil(svg:find("nan"))
    assert.is_nil(svg:find("inf"))
  end)

  it("keeps the peaks of a long series and little else", function()
    local x, y = {}, {}
    for i = 1, 100000 do
      x[i], y[i] = i, i == 50000 and 10 or i % 2 * 0.001
    end
    local svg = plot.chart { series = { { x = x, y = y } }, y_min = 0, y_max = 10, height = 200 }
    assert.is_true(#svg < 30000)
    assert.is_truthy(svg:find('L[%d.]+ 14[LM"]'))
  end)

  it("draws bands, error bars, labels, marks, smoothing and a legend", function()
    local svg = plot.chart {
      title = "T",
      x_label = "steps",
      y_label = "score",
      lines = { { y = 0.5, label = "SFT" } },
      series = {
        {
          name = "a",
          x = { 1, 2 },
          y = { 0.1, 0.9 },
          low = { 0, 0.8 },
          high = { 0.2, 1 },
          smooth = 0.9,
        },
        {
          name = "b",
          x = { 1, 2 },
          y = { 0.1, 0.9 },
          low = { 0, 0.8 },
          high = { 0.2, 1 },
          x_low = { 0.5, 1.5 },
          x_high = { 1.5, 2.5 },
          labels = { "n=1", "n=2" },
          mark = "points",
        },
      },
    }
    balance(svg)
    assert.are.equal(1, count(svg, 'class="band f1"'))
    assert.are.equal(1, count(svg, 'class="line c1 faint"'))
    assert.are.equal(4, count(svg, 'class="whisker c2"'))
    assert.are.equal(1, count(svg, ">n=2<"))
    assert.are.equal(1, count(svg, ">SFT<"))
    assert.are.equal(1, count(svg, 'class="mark"'))
    assert.are.equal(1, count(svg, '">a</text>'))
  end)

  it("has powers of ten on a logarithmic axis and leaves out what has no logarithm", function()
    local svg = plot.chart {
      log_y = true,
      series = { { x = { 1, 2, 3, 4 }, y = { 1, 0, 10, 1000 } } },
    }
    for _, text in ipairs { ">1<", ">10<", ">100<", ">1000<" } do
      assert.are.equal(1, count(svg, text:gsub(">", '">', 1)) > 0 and 1 or 0, text)
    end
  end)

  it("draws data without any spread, and no data", function()
    balance(plot.chart { series = { { x = { 3 }, y = { 0 } } } })
    balance(plot.chart { series = { { x = {}, y = {} } } })
    balance(plot.chart { log_x = true, log_y = true, series = { { x = { 5 }, y = { 5 } } } })
  end)

  it("refuses what it cannot draw", function()
    assert.has_error(
      function() plot.chart { series = { { x = { 1 }, y = {} } } } end,
      "series 1 of plot.chart needs lists x and y of one length"
    )
    assert.has_error(
      function() plot.chart { serie = {} } end,
      "plot.chart has no option 'serie'; did you mean 'series'?"
    )
  end)
end)

describe("plot.series", function()
  it("takes the rows that have both fields", function()
    local history = { { step = 1, loss = 3 }, { step = 2 }, { loss = 1 }, { step = 4, loss = 2 } }
    assert.are.same(
      { name = "SFT", x = { 1, 4 }, y = { 3, 2 }, smooth = 0.8 },
      plot.series("SFT", history, "step", "loss", 0.8)
    )
  end)
end)

describe("plot.intervals", function()
  it("draws each row's value and interval", function()
    local svg = plot.intervals {
      title = "T",
      rows = {
        { name = "base <b>", value = 0.1, low = 0.05, high = 0.15 },
        { name = "ppo", value = 0.8 },
      },
    }
    local seen = balance(svg)
    assert.are.equal(2, seen.circle)
    assert.are.equal(1, count(svg, ' span"'))
    assert.are.equal(1, count(svg, "base &lt;b&gt;"))
  end)
end)

describe("plot.escape", function()
  it("leaves no markup, no control characters and no broken UTF-8", function()
    assert.are.equal(
      "&lt;a href=&quot;x&quot;&gt; &amp; &#39;y&#39;",
      plot.escape("<a href=\"x\"> & 'y'")
    )
    assert.are.equal("a\u{FFFD}b\n\t", plot.escape("a\0b\n\t"))
    assert.are.equal("a\u{FFFD}b\u{FFFD}", plot.escape("a\xffb\xc3"))
    assert.are.equal("β€", plot.escape("β€"))
  end)
end)

describe("a report", function()
  local function make()
    return report
      .new({ title = "A & B", subtitle = "sub" })
      :tiles({ { "score", 0.84, "± 0.02" }, { "kl", "4.2" } })
      :alarms({ "Length drift <x>" })
      :heading("H <1>")
      :text("para & graph")
      :table({
        head = { "model", "score" },
        rows = { { "base", 0.11 }, { "ppo", 0.8 } },
        best = 2,
        note = "n",
      })
      :chart(plot.chart { series = { { x = { 1, 2 }, y = { 1, 2 } } } }, "caption")
      :charts({ plot.chart { series = { { x = { 1, 2 }, y = { 1, 2 } } } } })
      :answers {
        models = { "base", "ppo" },
        rows = {
          {
            prompt = "<p>?",
            answers = { "<script>alert(1)</script>", " " },
            scores = { 0.1, 0.9 },
          },
        },
      }
  end

  it("is well formed and escapes all text", function()
    local html = make():html()
    local seen = balance(html)
    assert.are.equal(2, seen.svg)
    assert.are.equal(1, seen.table)
    assert.is_nil(seen.script)
    assert.are.equal(1, count(html, "&lt;script&gt;alert(1)&lt;/script&gt;"))
    assert.are.equal(1, count(html, "<title>A &amp; B</title>"))
    assert.are.equal(1, count(html, "H &lt;1&gt;"))
    assert.are.equal(1, count(html, "no answer"))
    assert.are.equal(1, count(html, '<td class="num">0.80</td>'))
    assert.are.equal(1, count(html, 'class="answer top"'))
  end)

  it("needs nothing from outside", function()
    local html = make():html()
    for _, word in ipairs { "http:", "https:", "src=", "href=", "@import", "url(" } do
      assert.is_nil(html:find(word, 1, true), word)
    end
    assert.is_truthy(html:find("prefers-color-scheme:dark", 1, true))
  end)

  it("goes to a file whole", function()
    local path = os.tmpname()
    local r = make()
    r:write(path)
    local file = assert(io.open(path))
    assert.are.equal(r:html(), file:read("a"))
    file:close()
    os.remove(path)
    assert.has_error(function() r:write("/nowhere/at/all/report.html") end)
  end)
end)
