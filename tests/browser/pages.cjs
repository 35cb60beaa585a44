// Looks at the page of a run as a person would, in headless Chromium: what tests/lua/browser_spec.lua
// starts. Prints one JSON object of what it found; the spec says what that must be.
//
//   node pages.cjs PLAYWRIGHT CHROMIUM FOLDER REPORT.html WATCH-ADDRESS
//
// FOLDER gets the screenshots.
"use strict";
const [playwright, chromium, folder, file, address] = process.argv.slice(2);
const browserType = require(playwright).chromium;
const found = { console: [], requests: [], dialogs: [] };

function watchOver(page, origin) {
  page.on("console", (m) => {
    if (["error", "warning"].includes(m.type())) found.console.push(m.text());
  });
  page.on("pageerror", (e) => found.console.push(String(e)));
  page.on("dialog", (d) => { found.dialogs.push(d.message()); d.dismiss(); });
  page.on("request", (r) => { if (!r.url().startsWith(origin)) found.requests.push(r.url()); });
}

const ready = (page) => page.waitForFunction(() => document.documentElement.classList.contains("ready"));
const shot = (page, name) => page.screenshot({ path: `${folder}/${name}.png` });

// Everything in a page that hostile text could have made.
const foreign = () => ({
  owned: window.owned ?? null,
  elements: document.querySelectorAll("img,iframe,object,embed,a,base,link,form[action],body script[src]").length,
  scripts: document.scripts.length,
  handlers: [...document.querySelectorAll("*")].filter((e) =>
    [...e.attributes].some((a) => /^on/i.test(a.name) || /^(href|src|srcdoc|action|formaction|xlink:href)$/i.test(a.name))).length,
});

// Where Tab leads from the top of the page, until it is back.
async function tabOrder(page) {
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); window.reached = new Set(); });
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll("button,select,input,summary,[tabindex='0']")];
    window.wanted = all.filter((e) => e.checkVisibility({ visibilityProperty: true }) && !e.disabled);
    return window.wanted.length;
  });
  for (let i = 0; i < 2 * wanted + 60; i++) {
    await page.keyboard.press("Tab");
    await page.evaluate(() => window.reached.add(document.activeElement));
  }
  return page.evaluate(() => window.wanted.filter((e) => !window.reached.has(e)).map((e) => e.outerHTML.slice(0, 120)));
}

async function lookAtReport(browser) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  watchOver(page, "file://");
  await page.goto("file://" + file);
  await ready(page);
  found.report = await page.evaluate(foreign);
  found.charts = await page.locator("svg.live").count();
  found.missed = await tabOrder(page);
  const chart = page.locator("figure", { hasText: "KL to the reference" }).first();
  const svg = chart.locator("svg.live");
  const axis = () => chart.locator("svg.live text.mid").allTextContents();
  await svg.scrollIntoViewIfNeeded();
  const whole = await axis();
  const box = await svg.boundingBox();
  await page.mouse.move(box.x + box.width * 0.5, box.y + 100);
  found.tip = await chart.locator(".tip").innerText();
  await shot(page, "report-light");
  await page.mouse.move(box.x + box.width * 0.3, box.y + 100);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 120, { steps: 3 });
  await page.mouse.up();
  found.zoomed = (await axis()).join() !== whole.join();
  found.button = await chart.getByRole("button", { name: "Show all" }).isVisible();
  await svg.dblclick({ position: { x: 200, y: 100 } });
  found.whole = (await axis()).join() === whole.join();
  // The same by keyboard alone.
  await svg.focus();
  for (const key of ["Home", "ArrowRight", "ArrowRight"]) await page.keyboard.press(key);
  found.said = await page.locator("#pl-said").textContent();
  await page.keyboard.press("+");
  found.zoomedByKey = (await axis()).join() !== whole.join();
  await page.keyboard.press("Escape");
  found.wholeByKey = (await axis()).join() === whole.join();
  // Answers.
  const count = () => page.locator("#pl-count").textContent();
  found.answers = [await count()];
  await page.getByLabel("text", { exact: false }).first().fill("javascript:");
  found.answers.push(await count());
  await page.getByLabel("text", { exact: false }).first().fill("");
  await page.getByLabel("score from").fill("0.95");
  found.answers.push(await count());
  await page.getByLabel("score from").fill("");
  await page.getByLabel("the same prompt together").check();
  found.together = await page.locator("#pl-answers .card").first().locator(".answer").count();
  const tokens = page.locator(".tokens").first();
  await tokens.focus();
  await page.keyboard.press("ArrowRight");
  found.token = await tokens.locator("xpath=following-sibling::div").textContent();
  found.colored = await tokens.evaluate((e) => [...e.querySelectorAll(".token")].some((t) => t.style.backgroundColor));
  await tokens.scrollIntoViewIfNeeded();
  await shot(page, "report-answers");
  found.sideways = [];
  for (const [width, scheme] of [[320, "light"], [800, "dark"], [3840, "dark"]]) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    await page.waitForTimeout(150);
    await page.evaluate(() => scrollTo(0, 0));
    found.sideways.push(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth));
    await shot(page, `report-${width}-${scheme}`);
  }
  await page.setViewportSize({ width: 1000, height: 900 });
  await page.pdf({ path: `${folder}/report.pdf` });
  await context.close();
  const plain = await browser.newContext({ javaScriptEnabled: false });
  const still = await plain.newPage();
  watchOver(still, "file://");
  await still.goto("file://" + file);
  const text = await still.locator("body").textContent();
  found.still = { charts: await still.locator("svg.pl path.line").count(), prompt: text.includes("the moon"),
    key: text.includes("kl_coef"), alarm: text.includes("KL runaway") };
  await shot(still, "report-no-script");
  await plain.close();
}

async function lookAtWatch(browser) {
  const origin = new URL(address).origin;
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  watchOver(page, origin);
  await page.goto(address);
  await ready(page);
  await page.waitForFunction(() => /running/.test(document.getElementById("pl-state").textContent));
  const step = () => page.locator("#pl-state").textContent();
  const before = await step();
  await page.waitForFunction((old) => document.getElementById("pl-state").textContent !== old, before);
  found.moves = true;
  const press = async (name) => {
    await page.getByRole("button", { name, exact: true }).click();
    await page.waitForFunction(() => !["", "…"].includes(document.getElementById("pl-answer").textContent));
    return page.locator("#pl-answer").textContent();
  };
  const change = async (key, value) => {
    await page.locator("#pl-live").getByLabel("set", { exact: true }).fill(key);
    await page.locator("#pl-live").getByLabel("to", { exact: true }).fill(value);
    return press("Change");
  };
  found.changed = await change("kl_coef", "0.25");
  found.wrongKey = await change("kl_cof", "0.25");
  found.wrongValue = await change("kl_coef", "<img src=x onerror=owned=1>");
  found.paused = await press("Pause");
  await page.waitForFunction(() => /paused/.test(document.getElementById("pl-state").textContent));
  await page.waitForTimeout(2500); // what the last step sent is drawn by then, and nothing is made anew
  found.missedLive = await tabOrder(page);
  await page.evaluate(() => scrollTo(0, 0));
  await shot(page, "watch");
  found.goesOn = await press("Continue");
  await page.waitForFunction(() => document.getElementById("pl-changes").textContent.includes("0.25"));
  await page.waitForFunction(() => document.querySelectorAll("#pl-answers .card").length > 0);
  found.live = await page.evaluate(foreign);
  await page.setViewportSize({ width: 320, height: 700 });
  await page.waitForTimeout(150);
  found.sidewaysLive = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  await shot(page, "watch-320");
  await context.close();
  // Another site's page, with and without the token; no token at all.
  const other = await browser.newContext();
  const stranger = await other.newPage();
  found.noToken = (await stranger.goto(origin + "/")).status();
  await stranger.goto("data:text/html,<p>elsewhere");
  found.elsewhere = await stranger.evaluate(async (url) => {
    const tries = [];
    for (const options of [{}, { mode: "no-cors" }, { method: "POST", body: "{}" },
      { method: "POST", mode: "no-cors", body: '{"do":"stop","run":0}' }]) {
      try {
        const reply = await fetch(options.method ? url + "do" : url, options);
        tries.push(reply.type + " " + reply.status);
      } catch (e) { tries.push("refused"); }
    }
    return tries;
  }, address);
  found.framed = await stranger.evaluate((url) => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = () => { try { done(frame.contentDocument === null ? "closed" : "open"); } catch (e) { done("closed"); } };
    frame.src = url;
    document.body.append(frame);
    setTimeout(() => done("closed"), 3000);
  }), address);
  await other.close();
}

(async () => {
  const browser = await browserType.launch({
    executablePath: chromium,
    args: ["--no-sandbox", "--disable-background-networking", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  try {
    await lookAtReport(browser);
    if (address) await lookAtWatch(browser);
  } catch (error) {
    found.failed = String(error.stack);
  }
  await browser.close();
  process.stdout.write(JSON.stringify(found, null, 1) + "\n");
})();
