local json = require("perilune.base.json")

-- Decodes and writes again.
local function again(text, opts)
  local value, message = json.decode(text, opts)
  if value == nil then return nil, message end
  return json.encode(value)
end

describe("json.decode", function()
  it("keeps integers integers and floats floats", function()
    assert.equal("integer", math.type(json.decode("50257")))
    assert.equal("float", math.type(json.decode("50257.0")))
    assert.equal(math.mininteger, json.decode("-9223372036854775808"))
    assert.equal(math.maxinteger, json.decode("9223372036854775807"))
    assert.equal(9007199254740993, json.decode("9007199254740993"))
    assert.equal("integer", math.type(json.decode("-0")))
    assert.equal(-math.huge, 1 / json.decode("-0.0"))
  end)

  it("widens integers beyond 64 bits to floats instead of clamping them", function()
    assert.equal(1e30, json.decode("1000000000000000019884624838656"))
    assert.equal(2.0 ^ 63, json.decode("9223372036854775808"))
    assert.equal(-2.0 ^ 63, json.decode("-9223372036854775809"))
    assert.same(
      { 2.0 ^ 64, "99999999999999999999", 3 },
      setmetatable(json.decode('[18446744073709551616, "99999999999999999999", 3]'), nil)
    )
  end)

  it("reads what Python writes for numbers that are none", function()
    local list = json.decode("[NaN, Infinity, -Infinity]")
    assert.is_true(list[1] ~= list[1])
    assert.equal(math.huge, list[2])
    assert.equal(-math.huge, list[3])
  end)

  it("leaves null members out, keeps nulls in arrays", function()
    local value = json.decode('{"a": null, "b": [null, 1, null]}')
    assert.is_nil(value.a)
    assert.equal(3, #value.b)
    assert.equal(json.null, value.b[1])
    assert.equal(json.null, json.decode("null"))
  end)

  it("keeps every byte of a string", function()
    assert.equal("a\0b", json.decode('"a\\u0000b"'))
    assert.equal("\u{1F600}", json.decode('"\\ud83d\\ude00"'))
    assert.equal("\u{e4}\u{4e2d}", json.decode('"\u{e4}\u{4e2d}"'))
    assert.equal("\u{fffd}", json.decode('"\\ud800"'))
  end)

  it("skips a byte order mark", function() assert.equal(1, json.decode("\u{feff}1")) end)

  it("names line and column of what is wrong", function()
    local cases = {
      ["[1,\n 2,\n  x]"] = "json: unexpected character at line 3, column 3",
      [""] = "json: unexpected end of text at line 1, column 1",
      ["[1"] = "json: unexpected end of text at line 1, column 3",
      ["1 2"] = "json: unexpected character at line 1, column 3",
      ["[1]\0"] = "json: NUL byte in the text at line 1, column 4",
      ['["\u{e4}", nul]'] = "json: null expected at line 1, column 10",
      ['{"a\\u0000":1}'] = "json: a key that holds \\u0000 is not supported at line 1, column 4",
    }
    for text, expected in pairs(cases) do
      local value, message = json.decode(text)
      assert.is_nil(value)
      assert.equal(expected, message)
    end
  end)

  it("refuses what is not JSON", function()
    for _, text in ipairs {
      "[1,]",
      '{"a":1,}',
      "'a'",
      "012",
      "-",
      "tRue",
      "nan",
      "/*x*/1",
      '"\\x"',
      '"\\u00"',
      "[1 2]",
      "{a:1}",
      '{"a" 1}',
      "1.0e",
      "\f1",
      "0x10",
      "+1",
      ".5",
      "[,1]",
      "-NaN",
      "[-]",
      "[1.5.2]",
      "[--1]",
      "[1+2]",
      '"',
      "{",
      "]",
      '{"a":}',
      "  ",
    } do
      local value, message = json.decode(text)
      assert.is_nil(value, text)
      assert.matches("^json: .+ at line 1, column %d+$", message)
    end
  end)

  it("refuses deep nesting at once", function()
    local value, message = json.decode(("["):rep(100000))
    assert.is_nil(value)
    assert.matches("nesting too deep", message)
    assert.equal("[[[1]]]", again("[[[1]]]", { depth = 3 }))
    assert.is_nil((json.decode("[[[1]]]", { depth = 2 })))
    local deep = ("["):rep(128) .. ("]"):rep(128)
    assert.equal(deep, again(deep))
  end)

  it("is strict with other people's data when asked", function()
    local cases = {
      ['"\xff"'] = "utf%-8",
      ['{"a":1,"b":{"a":2},"a":3}'] = "a key stands twice",
      ["1."] = "a digit must follow the decimal point",
      ["[NaN]"] = "NaN and Infinity are not allowed here at line 1, column 2",
      ["-Infinity"] = "NaN and Infinity are not allowed",
      ['"a\nb"'] = "control character in a string",
      ['"\\ud800"'] = "half of a surrogate pair",
      ['"\\ude00"'] = "half of a surrogate pair",
      ['"\\ud800\\u0041"'] = "half of a surrogate pair",
    }
    for text, expected in pairs(cases) do
      local value, message = json.decode(text, { strict = true })
      assert.is_nil(value, text)
      assert.matches(expected, message)
      if not text:find("\xff") then assert.is_not_nil((json.decode(text))) end
    end
    local text = '{"a":{"a":"\\ud83d\\ude00"}}'
    assert.equal('{"a":{"a":"\u{1F600}"}}', again(text, { strict = true }))
  end)

  it("knows strictly what is UTF-8: no surrogates, no longer forms than needed", function()
    for _, bytes in ipairs {
      "\xed\xa0\x80",
      "\xc0\x80",
      "\xe0\x80\x80",
      "\xf4\x90\x80\x80",
      "\xf8\x88\x80\x80\x80",
      "\x80",
      "\xc3",
    } do
      local value, message = json.decode('["ok", "' .. bytes .. '"]', { strict = true })
      assert.is_nil(value)
      assert.matches("^json: invalid utf%-8.* at line 1, column %d+$", message)
    end
  end)

  it("reads the same on its short way as by json-c, whatever the text", function()
    local function without_nulls(value)
      if type(value) ~= "table" then return value end
      local keys = {}
      for key in pairs(value) do
        keys[#keys + 1] = key
      end
      for _, key in ipairs(keys) do
        if value[key] == json.null and type(key) == "string" then
          value[key] = nil
        else
          without_nulls(value[key])
        end
      end
      return value
    end

    --- What a decoding gives, as text: ordered objects always go by json-c.
    local function told(text, strict, ordered)
      local value, message = json.decode(text, { strict = strict, ordered = ordered, depth = 5 })
      if value == nil then return message end
      local parts = {}
      local function write(inner)
        if type(inner) ~= "table" then
          parts[#parts + 1] = ("%s %s"):format(
            math.type(inner) or type(inner),
            type(inner) == "string" and ("%q"):format(inner) or tostring(inner)
          )
          return
        end
        local keys = {}
        for key in pairs(inner) do
          keys[#keys + 1] = key
        end
        table.sort(keys)
        parts[#parts + 1] = getmetatable(inner) == getmetatable(json.array()) and "[" or "{"
        for _, key in ipairs(keys) do
          parts[#parts + 1] = tostring(key)
          write(inner[key])
        end
        parts[#parts + 1] = "end"
      end
      write(without_nulls(value))
      return table.concat(parts, "\n")
    end

    local texts = {
      '{"a":1,"b":[true,false,null,{"c":null,"d":"x\\n\\u00e4\\ud83d\\ude00\\/"}],'
        .. '"e":-1.5e3,"f":""}',
      "[0,-0,-0.0,12345678901234567,123456789012345678,1234567890123456789,1e5,1E-5,0.1,"
        .. "5e-324]",
      ' { "k" : "v" , "\u{e4}" : [ ] , "z" : { } } ',
      '"\u{1F600}\\"\\\\"',
      "null",
      "[[[[[1]]]]]",
      "[[[[[[1]]]]]]",
    }
    local pieces = {
      '"',
      "\\",
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      "0",
      "1",
      "9",
      "-",
      "+",
      ".",
      "e",
      "E",
      " ",
      "\n",
      "\t",
      "\0",
      "\1",
      "u",
      "null",
      "true",
      "\xff",
      "\xc3",
      "\\ud800",
      "\\u0000",
      "a",
      '"a":1,',
      "99999999999999999999",
      "NaN",
      "\x7f",
      "\u{fffd}",
      "//",
      "\\x",
    }
    local state = 20240531
    local function draw(n)
      state = (state * 1103515245 + 12345) & 0x7fffffff
      return (state >> 8) % n + 1
    end
    for _ = 1, 6000 do
      local text = texts[draw(#texts)]
      for _ = 1, draw(3) - 1 do
        local at = draw(#text + 1)
        local piece = draw(3) > 1 and pieces[draw(#pieces)] or ""
        text = text:sub(1, at - 1) .. piece .. text:sub(at + draw(2) - 1)
      end
      for _, strict in ipairs { false, true } do
        assert.equal(told(text, strict, true), told(text, strict, false), text)
      end
    end
  end)

  it("refuses options it does not know", function()
    assert.has_error(
      function() json.decode("1", { strickt = true }) end,
      "unknown json.decode option 'strickt'; did you mean 'strict'?"
    )
    assert.has_error(
      function() json.decode("1", { depth = 0 }) end,
      "depth must be from 1 to 1000, got 0"
    )
  end)
end)

describe("json.encode", function()
  it("sorts keys, so that equal values give equal texts", function()
    local value = { c = { y = 2, x = 1 }, b = 2, a = 1 }
    assert.equal('{"a":1,"b":2,"c":{"x":1,"y":2}}', json.encode(value))
  end)

  it("writes floats with the fewest digits that read back to the same bits", function()
    assert.equal(
      "[0.1,1e-05,0.30000000000000004,3.0,-0.0,1e+300,4.94065645841247e-324]",
      json.encode { 0.1, 1e-5, 0.1 + 0.2, 3.0, -0.0, 1e300, 5e-324 }
    )
    local x = 0.123456789
    for _ = 1, 2000 do
      x = (x * 1103515245.7 + 0.377) % 1
      local y = x * 2.0 ^ math.floor(x * 2000 - 1000)
      assert.equal(y, json.decode(json.encode(y)))
      assert.equal("float", math.type(json.decode(json.encode(y))))
    end
  end)

  it("writes numbers that are none as Python does", function()
    assert.equal("[NaN,Infinity,-Infinity]", json.encode { 0 / 0, 1 / 0, -1 / 0 })
    assert.equal(
      '{"a":["NaN","Infinity","-Infinity",0.5]}',
      json.encode({ a = json.array { 0 / 0, 1 / 0, -1 / 0, 0.5 } }, { finite = true })
    )
  end)

  it(
    "keeps integers whole",
    function()
      assert.equal(
        "[-9223372036854775808,9223372036854775807,0]",
        json.encode { math.mininteger, math.maxinteger, 0 }
      )
    end
  )

  it("tells objects from arrays", function()
    assert.equal(
      '{"a":{},"b":[],"c":[1],"d":[null]}',
      json.encode { a = {}, b = json.array(), c = { 1 }, d = { json.null } }
    )
    assert.equal('{"a":[],"b":{}}', again('{"a":[],"b":{}}'))
    assert.equal("false", json.encode(false))
  end)

  it("keeps the order of an ordered object, and its nulls", function()
    local text = '{"zeta":1,"alpha":null,"mid":{"y":2,"b":[]},"0":"x"}'
    local value = json.decode(text, { ordered = true })
    assert.equal(text, json.encode(value))
    value.new = 5
    value.zeta = nil
    value.alpha = "set"
    assert.equal('{"alpha":"set","mid":{"y":2,"b":[]},"0":"x","new":5}', json.encode(value))
    value.zeta = 7
    assert.equal(
      '{"zeta":7,"alpha":"set","mid":{"y":2,"b":[]},"0":"x","new":5}',
      json.encode(value)
    )
    local keys = {}
    for key in pairs(value) do
      keys[#keys + 1] = key
    end
    assert.same({ "zeta", "alpha", "mid", "0", "new" }, keys)
    local made = json.object()
    made.z = 1
    made.a = 2
    rawset(made, "k", 3)
    made.z = 4
    assert.equal('{"z":4,"a":2,"k":3}', json.encode(made))
  end)

  it("writes text, repaired unless strict", function()
    assert.equal('"a/\\"\\\\\\n\\u0001\u{e4}\\u0000"', json.encode('a/"\\\n\1\u{e4}\0'))
    assert.equal('"x\u{fffd}\u{fffd}y"', json.encode("x\xff\xc3y"))
    assert.has_error(
      function() json.encode({ "x\xff" }, { strict = true }) end,
      "json.encode: text that is not UTF-8 at value[1]"
    )
  end)

  it(
    "indents",
    function()
      assert.equal(
        '{\n  "a": [\n    1,\n    {\n      "b": true\n    }\n  ]\n}',
        json.encode({ a = { 1, { b = true } } }, { pretty = true })
      )
    end
  )

  it("names the place of what cannot be written", function()
    local holes = "json.encode: table with keys that are neither all strings nor exactly 1..n "
      .. "(a hole? an object's keys must be strings) at value"
    local cycle = {}
    cycle.x = { cycle }
    local cases = {
      { { 1, 2, [4] = 1 }, holes },
      { { p = { 1, a = 2 } }, holes .. ".p" },
      { { [1.5] = 1 }, holes },
      { { a = { b = { print } } }, "json.encode: cannot write a function at value.a.b[1]" },
      { { ["a\0"] = 1 }, "json.encode: key that holds a NUL byte at value" },
      { { ["\xff"] = 1 }, "json.encode: key that is not UTF-8 at value" },
      {
        json.array { 1, [3] = 3 },
        "json.encode: array with a hole or a key that is no index at value",
      },
    }
    for _, case in ipairs(cases) do
      assert.has_error(function() json.encode(case[1]) end, case[2])
    end
    local ok, message = pcall(json.encode, cycle, { depth = 4 })
    assert.is_false(ok)
    assert.equal("json.encode: nesting too deep (a cycle?) at value.x[1].x[1]", message)
    assert.has_error(
      function() json.encode(nil) end,
      "json.encode: nil (use json.null, or leave the key out) at value"
    )
  end)
end)
