--- Every op of ops.def, on every case of op_cases.lua: values against plain Lua (or the twin of a
-- fused op) in both dtypes, gradients against central differences, float32 gradients against
-- float64 ones, the same bits for 1 to 4 threads and whatever rows stand beside, and errors that
-- name the op and what does not fit.

local pl = require("perilune")
local cases = dofile("tests/lua/op_cases.lua")
local gradcheck = dofile("tests/lua/gradcheck.lua")
local reference = dofile("tests/lua/reference.lua")

local MIN_CASES = 6

-- ---- from specs to values -----------------------------------------------------------------------

local function product(shape)
  local n = 1
  for _, size in ipairs(shape) do
    n = n * size
  end
  return n
end

local function to_f32(v) return (string.unpack("f", string.pack("f", v))) end

--- 1 .. n in random order.
local function shuffled(n, seed)
  local list = {}
  for i = 1, n do
    list[i] = i
  end
  for i = n, 2, -1 do
    local k = 1 + math.floor(pl.random_uniform(seed, 2, i) * i)
    list[i], list[k] = list[k], list[i]
  end
  return list
end

local fills = {}

function fills.normal(n, seed)
  local list = {}
  for i = 1, n do
    list[i] = to_f32(pl.random_normal(seed, 1, i))
  end
  return list
end

function fills.positive(n, seed)
  local list = {}
  for i = 1, n do
    list[i] = to_f32(0.5 + 2 * pl.random_uniform(seed, 1, i))
  end
  return list
end

function fills.apart(n, seed, spec)
  local list = fills.normal(n, seed)
  for i, v in ipairs(list) do
    for _, kink in ipairs(spec.kinks) do
      if math.abs(v - kink) < 0.1 then v = v < kink and v - 0.1 or v + 0.1 end
    end
    list[i] = to_f32(v)
  end
  return list
end

function fills.steps(n, seed)
  local list = shuffled(n, seed)
  for i, v in ipairs(list) do
    list[i] = (v - n // 2) / 8
  end
  return list
end

function fills.between(n, seed)
  local list = fills.steps(n, seed)
  for i, v in ipairs(list) do
    list[i] = v + 1 / 16
  end
  return list
end

function fills.bits(n, seed)
  local list = {}
  for i = 1, n do
    list[i] = pl.random_uniform(seed, 1, i) < 0.5 and 0.0 or 1.0
  end
  return list
end

function fills.zeros(n)
  local list = {}
  for i = 1, n do
    list[i] = 0.0
  end
  return list
end

function fills.ints(_, _, spec) return spec.values end

fills.list = fills.ints

local made_arrays = {} -- by what they are made of: the large ones are used many times

local function array_of(spec, seed)
  local key = spec.fill == "ints" or spec.fill == "list" or spec.kinks
  local name = ("%s %d %s"):format(spec.fill, seed, table.concat(spec.shape, ","))
  if not key and made_arrays[name] then return made_arrays[name] end
  local list = fills[spec.fill](product(spec.shape), seed, spec)
  local array =
    table.move(list, 1, #list, 1, { shape = spec.shape, ints = spec.fill == "ints", bytes = {} })
  if not key then made_arrays[name] = array end
  return array
end

--- The arrays of a case: flat lists with shape, float or int; false for an absent input. `const`
-- is the set of those that get no gradient.
local function arrays_of(case)
  local arrays = { n = #case.inputs, const = {} }
  for i, spec in ipairs(case.inputs) do
    if spec and spec.same then
      arrays[i] = arrays[spec.same]
    else
      arrays[i] = spec and array_of(spec, 100 + i)
      arrays.const[i] = spec and (spec.const or spec.fill == "ints") or not spec
    end
  end
  return arrays
end

local function tensor_of(array, dtype)
  dtype = array.ints and "int32" or dtype
  if not array.bytes[dtype] then
    array.bytes[dtype] = pl.tensor(table.move(array, 1, #array, 1, {}), dtype):bytes()
  end
  return pl.from_bytes(array.bytes[dtype], dtype, array.shape)
end

--- Tensors of the arrays, one for the same array twice; leaves that want gradients when `grad`.
local function tensors_of(arrays, dtype, grad)
  local made, tensors = {}, { n = arrays.n }
  for i = 1, arrays.n do
    local array = arrays[i]
    if array then
      made[array] = made[array] or tensor_of(array, dtype)
      tensors[i] = made[array]
      if grad and not arrays.const[i] then tensors[i]:requires_grad(true) end
    end
  end
  return tensors
end

local function flat_values(t) return t:view({ t:count() }):totable() end

--- f(inputs..., params), all results in a list with n.
local function call(f, inputs, params)
  local args = table.move(inputs, 1, inputs.n, 1, {})
  args[inputs.n + 1] = params
  return table.pack(f(table.unpack(args, 1, inputs.n + (params and 1 or 0))))
end

--- The op of a case as a function of its inputs alone.
local function caller(op, case)
  return function(...) return table.unpack(call(pl[op], table.pack(...), case.params)) end
end

local function label(i, case)
  local parts = {}
  for k, spec in ipairs(case.inputs) do
    parts[k] = spec and (spec.same and "=" .. spec.same or table.concat(spec.shape, "x")) or "nil"
  end
  local params = {}
  for k, v in pairs(case.params or {}) do
    params[#params + 1] = k .. "=" .. (type(v) == "table" and table.concat(v, ",") or tostring(v))
  end
  table.sort(params)
  return ("case %d (%s) %s"):format(i, table.concat(parts, ", "), table.concat(params, " "))
end

-- ---- comparing ----------------------------------------------------------------------------------

--- The first place where two lists differ by more than the tolerance relative to max(1, |want|).
local function difference(got, want, tolerance)
  if #got ~= #want then return ("%d elements, %d wanted"):format(#got, #want) end
  for i, w in ipairs(want) do
    local g = got[i]
    local agree = g == w
      or (g ~= g and w ~= w)
      or math.abs(g - w) <= tolerance * math.max(1, math.abs(w))
    if not agree then return ("element %d is %.9g, %.9g wanted"):format(i, g, w) end
  end
end

local function must_agree(got, want, tolerance, what)
  local text = difference(got, want, tolerance)
  assert(not text, text and what .. ": " .. text)
end

--- What the outputs should be: by plain Lua, or for a fused op by its twin in float64.
local function wanted_outputs(row, case, arrays)
  local params = case.params or {}
  if not row.flags.fused then return reference[row.name](arrays, params) end
  local twin = require("perilune.learn.twins")[row.name]
  local wanted = call(twin, tensors_of(arrays, "float64"), params)
  for k, y in ipairs(wanted) do
    wanted[k] = flat_values(y)
    wanted[k].shape = y:shape()
  end
  return wanted
end

--- Two tensors of whatever dtypes agree to 1e-4 relative to max(1, |want|); NaN with NaN.
local function must_be_near(got, want, what)
  if want:count() == 0 then return end
  got, want = pl.cast(got, { dtype = "float64" }), pl.cast(want, { dtype = "float64" })
  local err = pl.abs(got - want) / pl.maximum(pl.abs(want), 1)
  local alike = pl.maximum(pl.eq(got, want), (1 - pl.eq(got, got)) * (1 - pl.eq(want, want)))
  local worst = pl.where(alike, 0, err):max():item()
  assert(worst <= 1e-4, ("%s: float32 is off by %.3g"):format(what, worst))
end

local function check_values(row, entry, case, arrays, dtype)
  local outputs = call(pl[row.name], tensors_of(arrays, dtype), case.params)
  local tolerance = dtype == "float64" and 1e-12 or entry.tolerance or 3e-6
  if entry.exact then
    tolerance = 0
  elseif case.rounds then
    tolerance = 6e-8
  end
  for k, want in ipairs(wanted_outputs(row, case, arrays)) do
    local what = ("%s, output %d"):format(dtype, k)
    assert.same(want.shape, outputs[k]:shape(), what)
    must_agree(flat_values(outputs[k]), want, tolerance, what)
  end
end

--- The gradients of all inputs; false where there is none to come.
local function gradients(row, entry, case, arrays, dtype, times)
  local tensors = tensors_of(arrays, dtype, true)
  for _ = 1, times or 1 do
    gradcheck.backward(caller(row.name, case), tensors, { outputs = entry.outputs })
  end
  local grads = {}
  for i = 1, arrays.n do
    grads[i] = not arrays.const[i] and tensors[i]:grad() or false
  end
  return grads
end

--- The bits of all outputs and gradients.
local function bits_of(row, entry, case, arrays)
  local parts = {}
  for k, y in ipairs(call(pl[row.name], tensors_of(arrays, "float32"), case.params)) do
    parts[k] = y:bytes()
  end
  if not row.flags.nograd then
    local tensors = tensors_of(arrays, "float32", true)
    gradcheck.backward(caller(row.name, case), tensors, { outputs = entry.outputs })
    for i = 1, arrays.n do
      if arrays[i] and tensors[i]:requires_grad() then
        parts[#parts + 1] = tensors[i]:grad():bytes()
      end
    end
  end
  return parts
end

--- Blocks from..to of n as an array of another shape.
local function part_of(array, from, to, n, shape)
  local part = { shape = shape, ints = array.ints, bytes = {} }
  for dtype, bytes in pairs(array.bytes) do
    local width = #bytes // n
    part.bytes[dtype] = bytes:sub((from - 1) * width + 1, to * width)
  end
  return part
end

--- Runs the op on blocks from..to of the named inputs: the outputs must be those blocks of the
-- outputs of the whole call, bit for bit.
local function check_part(row, case, arrays, named, n, from, to, flat)
  local whole = call(pl[row.name], tensors_of(arrays, "float32"), case.params)
  local cut = { n = arrays.n, const = arrays.const }
  for i = 1, arrays.n do
    cut[i] = arrays[i]
  end
  for _, i in ipairs(named) do
    local array = arrays[i]
    local shape = flat and { to - from + 1 } or table.move(array.shape, 1, #array.shape, 1, {})
    shape[1] = to - from + 1
    cut[i] = part_of(array, from, to, n, shape)
  end
  local part = call(pl[row.name], tensors_of(cut, "float32"), case.params)
  for k, y in ipairs(part) do
    local bytes = whole[k]:bytes()
    local width = #bytes // n
    assert(
      y:bytes() == bytes:sub((from - 1) * width + 1, to * width),
      ("blocks %d to %d of %d differ when they are alone"):format(from, to, n)
    )
  end
end

local function has_alias(case)
  for _, spec in ipairs(case.inputs) do
    if spec and spec.same then return true end
  end
  return false
end

--- All inputs of one shape, nothing broadcast.
local function is_flat(case)
  for _, spec in ipairs(case.inputs) do
    if
      not spec
      or spec.same
      or table.concat(spec.shape, ",") ~= table.concat(case.inputs[1].shape, ",")
    then
      return false
    end
  end
  return true
end

-- ---- the obligation -----------------------------------------------------------------------------

--- What a row still owes to the table of cases, as a list of complaints.
local function debts(row, all)
  local entry, list = all[row.name], {}
  if not entry then return { row.name .. " has no case in tests/lua/op_cases.lua" } end
  local has_big, has_empty = false, false
  for _, case in ipairs(entry) do
    has_big = has_big or case.big
    for _, spec in ipairs(case.inputs) do
      has_empty = has_empty or (spec and spec.shape and product(spec.shape) == 0)
    end
  end
  local function want(fine, text)
    if not fine then list[#list + 1] = row.name .. " " .. text end
  end
  want(#entry >= MIN_CASES, ("has %d cases, %d wanted"):format(#entry, MIN_CASES))
  want(has_empty, "has no case with an input of size 0")
  want(has_big, "has no case large enough for several threads")
  want(row.flags.fused or entry.random or reference[row.name], "has no reference")
  want(entry.bad or #row.inputs == 1 and #row.params == 0, "has no call that must fail")
  return list
end

describe("the table of cases", function()
  it("has what every row of ops.def needs", function()
    for _, row in ipairs(pl.ops()) do
      assert.same({}, debts(row, cases))
    end
  end)

  it("knows no op that is none", function()
    local known = {}
    for _, row in ipairs(pl.ops()) do
      known[row.name] = true
    end
    for name in pairs(cases) do
      assert(known[name], name .. " is no row of ops.def")
    end
  end)

  it("would fail for a row without a case, or with too few", function()
    local row = { name = "frobnicate", inputs = { {}, {} }, params = {}, flags = {} }
    assert.same({ "frobnicate has no case in tests/lua/op_cases.lua" }, debts(row, cases))
    local few = { frobnicate = { { inputs = { { fill = "normal", shape = { 2 } } } } } }
    assert.same({
      "frobnicate has 1 cases, 6 wanted",
      "frobnicate has no case with an input of size 0",
      "frobnicate has no case large enough for several threads",
      "frobnicate has no reference",
      "frobnicate has no call that must fail",
    }, debts(row, few))
  end)

  it("is read by a checker that sees a wrong value and a wrong gradient", function()
    assert.equal("element 2 is 2.1, 2 wanted", difference({ 1, 2.1 }, { 1, 2 }, 1e-6))
    local x = pl.tensor({ 0.3, 0.7 }, "float64")
    local worst = gradcheck.check(function(t)
      return pl.add(pl.square(t), t:detach()) -- the second term's slope is hidden
    end, { x })
    assert(worst > 0.1, "a gradient that is wrong by 1 was let through")
  end)
end)

-- ---- the ops ------------------------------------------------------------------------------------

--- Calls f(case, arrays) for each case that passes the filter; an error names the case.
local function each_case(row, filter, f)
  for i, case in ipairs(cases[row.name] or {}) do
    if filter(case) then
      local step <close> = pl.scope("ops_spec") -- luacheck: ignore
      local ok, message = xpcall(f, debug.traceback, case, arrays_of(case))
      assert(ok, ("%s, %s: %s"):format(row.name, label(i, case), message))
    end
  end
end

local function small(case) return not case.big end

local function big(case) return case.big end

local function any() return true end

--- The call must fail, naming the op and every piece.
local function must_fail(op, tensors, params, pieces)
  local ok, message = pcall(call, pl[op], tensors, params)
  assert(not ok, op .. ": a call that should fail did not")
  for _, piece in ipairs { op, table.unpack(pieces) } do
    assert(
      tostring(message):find(piece, 1, true),
      ("'%s' is missing from the message: %s"):format(piece, message)
    )
  end
end

local function check_bad_calls(row, entry)
  for _, bad in ipairs(entry.bad or {}) do
    local arrays = arrays_of { inputs = bad[1] }
    must_fail(row.name, tensors_of(arrays, "float32"), bad[2], { table.unpack(bad, 3) })
  end
end

--- Each input once missing, once of the wrong dtype.
local function check_wrong_inputs(row, entry)
  for i, input in ipairs(row.inputs) do
    local tensors = tensors_of(arrays_of(entry[2]), "float32")
    local right = tensors[i]
    if not input.optional then
      tensors[i] = nil
      must_fail(row.name, tensors, nil, { input.name })
    end
    if right and not input.any then
      tensors[i] = pl.zeros(right:shape(), input.integer and "float32" or "int32")
      must_fail(row.name, tensors, nil, { input.name, input.integer and "float32" or "int32" })
    end
  end
end

for _, row in ipairs(pl.ops()) do
  local entry = cases[row.name] or {}

  describe("op " .. row.name, function()
    if not entry.random then
      it("gives the values of its reference", function()
        each_case(row, small, function(case, arrays)
          if not (case.rounds or case.float32) then
            check_values(row, entry, case, arrays, "float64")
          end
          check_values(row, entry, case, arrays, "float32")
        end)
      end)
    end

    if not row.flags.nograd then
      it("has the gradient of central differences", function()
        each_case(row, small, function(case, arrays)
          if case.rounds or case.float32 then
            return -- rounding has no slope
          end
          local worst, where = gradcheck.check(
            caller(row.name, case),
            tensors_of(arrays, "float64"),
            { const = arrays.const, outputs = entry.outputs }
          )
          assert(worst <= 1e-6, ("off by %.3g at %s"):format(worst, where))
        end)
      end)

      it("adds to a gradient that is there", function()
        each_case(row, small, function(case, arrays)
          local dtype = case.float32 and "float32" or "float64"
          local once = gradients(row, entry, case, arrays, dtype)
          local twice = gradients(row, entry, case, arrays, dtype, 2)
          local tolerance = case.float32 and 1e-5 or 1e-12
          for i, grad in ipairs(once) do
            if grad then
              must_agree(flat_values(twice[i]), flat_values(grad * 2), tolerance, "input " .. i)
            end
          end
        end)
      end)
    end

    it("is in float32 near what it is in float64", function()
      each_case(row, any, function(case, arrays)
        if case.float32 then return end
        local low = call(pl[row.name], tensors_of(arrays, "float32"), case.params)
        local high = call(pl[row.name], tensors_of(arrays, "float64"), case.params)
        for k = 1, high.n do
          must_be_near(low[k], high[k], "output " .. k)
        end
        if row.flags.nograd then return end
        local low_grads = gradients(row, entry, case, arrays, "float32")
        for i, grad in ipairs(gradients(row, entry, case, arrays, "float64")) do
          if grad then must_be_near(low_grads[i], grad, "gradient of input " .. i) end
        end
      end)
    end)

    it("has the same bits for 1 to 4 threads", function()
      local former = pl.threads()
      each_case(row, big, function(case, arrays)
        pl.threads(1)
        local alone = bits_of(row, entry, case, arrays)
        for n = 2, 4 do
          pl.threads(n)
          for k, bytes in ipairs(bits_of(row, entry, case, arrays)) do
            assert(bytes == alone[k], ("result %d differs with %d threads"):format(k, n))
          end
        end
      end)
      pl.threads(former)
    end)

    it("gives a row the same bits whatever stands beside it", function()
      each_case(row, any, function(case, arrays)
        local rows = case.rowwise
        if rows == nil then rows = entry.rowwise end
        local n = rows and #case.inputs[rows[1]].shape > 0 and case.inputs[rows[1]].shape[1] or 0
        local one_row = rows and rows[1] == 1 and #case.inputs[1].shape == 1
        if rows and n > 1 and not one_row and not has_alias(case) then
          for _, range in ipairs { { 1, 1 }, { 1, n - 1 }, { 2, n }, { n, n } } do
            check_part(row, case, arrays, rows, n, range[1], range[2], false)
          end
        end
        if entry.flat and is_flat(case) and #arrays[1] > 1 then
          local all, count = {}, #arrays[1]
          for i = 1, arrays.n do
            all[i] = i
          end
          for _, range in ipairs {
            { 1, count - 1 },
            { 2, count },
            { count, count },
            { count // 2, math.min(count, count // 2 + 20) },
          } do
            check_part(row, case, arrays, all, count, range[1], range[2], true)
          end
        end
      end)
    end)

    it("fails in words at every allocation that fails, and leaves nothing behind", function()
      local case = entry[MIN_CASES]
      local arrays = arrays_of(case)
      local function run()
        local step <close> = pl.scope("ops_spec") -- luacheck: ignore
        if row.flags.nograd then
          call(pl[row.name], tensors_of(arrays, "float32"), case.params)
        else
          gradients(row, entry, case, arrays, "float32", 2)
        end
      end
      run()
      collectgarbage()
      local live, failures, done = pl.mem().live, 0, false
      while not done do
        pl.mem_fail_at(failures + 1, true) -- and all after it: some calls try again
        local message
        done, message = pcall(run)
        pl.mem_fail_at(0)
        if not done then
          failures = failures + 1
          assert(tostring(message):find("memory", 1, true), message)
        end
      end
      assert(failures > 3, "only " .. failures .. " allocations were seen")
      collectgarbage()
      assert.equal(live, pl.mem().live)
    end)

    it("refuses what does not fit, saying what and where", function()
      check_bad_calls(row, entry)
      check_wrong_inputs(row, entry)
    end)
  end)
end
