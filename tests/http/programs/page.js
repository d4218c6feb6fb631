// The page in a browser: `node page.js LINK CHROMIUM SHOTS`. Prints `ok NAME` for each thing that holds, and ends with 1
// at the first that does not. SHOTS is a folder for pictures, or empty.
const { chromium } = require("playwright-core");
const axe = require("axe-core");

const [link, executablePath, shots] = process.argv.slice(2);
const origin = new URL(link).origin;
const token = new URLSearchParams(new URL(link).hash.slice(1)).get("token");

function check(name, holds, what) {
  if (!holds) throw new Error(`${name}: ${JSON.stringify(what)}`);
  console.log(`ok ${name}`);
}

async function publish(topic, payload) {
  const response = await fetch(`${origin}/api/v1/publish`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ topic, payload, qos: 1 }),
  });
  if (!response.ok) throw new Error(await response.text());
}

async function accessible(page, name) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  check(`axe ${name}`, violations.length === 0, violations.map((v) => [v.id, v.nodes.slice(0, 3).map((n) => n.html)]));
}

async function visit(browser, colorScheme, locale) {
  const context = await browser.newContext({ colorScheme, locale, viewport: { width: 1100, height: 900 } });
  const page = await context.newPage();
  const [strange, errors] = [[], []];
  page.on("request", (request) => {
    if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith("data:")) strange.push(request.url());
  });
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  await page.goto(link);
  await page.waitForFunction(() => document.getElementById("state").textContent.length > 0);
  await page.locator("#state", { hasText: /live|ao vivo/ }).waitFor();
  return { context, page, strange, errors };
}

async function main() {
  const args = ["--no-sandbox", "--disable-gpu"];
  const browser = await chromium.launch({ executablePath, args });
  try {
    const { page, strange, errors } = await visit(browser, "light", "en-GB");
    check("the token leaves the address", !page.url().includes("token"), page.url());
    for (let n = 0; n < 40; n += 1) {
      await publish("home/kitchen", { sensor: "k1", temperature: 21 + Math.sin(n / 5), window: n % 9 < 3 });
      await publish("home/cellar", { sensor: "c1", temperature: 14 + Math.cos(n / 7), door: { open: n > 20 } });
    }
    await publish("home/note", "olá, <b>not markup</b>");
    await publish("home/scalar", 7);
    await publish("home/long", { id: 12345678901234567890n.toString() });
    const messages = page.locator("#messages");
    await messages.getByText("olá, <b>not markup</b>").waitFor();
    check("messages appear as text", (await messages.locator("b b, span b").count()) === 0);
    const fields = await page.locator("#field option").allTextContents();
    const wanted = ["(the whole payload)", "door.open", "temperature", "window"];
    check("numbers and switches can be chosen", wanted.every((field) => fields.includes(field)), fields);
    await page.selectOption("#field", "temperature");
    await page.locator("#values th", { hasText: "home/cellar" }).waitFor();
    const inked = () =>
      page.evaluate(() => {
        const canvas = document.querySelector("#chart canvas");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const colours = new Set();
        for (let at = 0; at < data.length; at += 4) {
          if (data[at + 3] > 200) colours.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);
        }
        return colours.has("0,114,178") && colours.has("213,94,0");
      });
    await page.waitForFunction(() => document.querySelector("#chart canvas"));
    let drawn = false;
    for (let n = 0; n < 100 && !drawn; n += 1) {
      drawn = await inked();
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
    }
    check("a chart draws two lines", drawn);
    await page.selectOption("#series", "sensor");
    await page.locator("#values th", { hasText: "k1" }).waitFor();
    check("lines by a chosen key", true);
    await page.locator("#clients td", { hasText: "$culex/http/stream" }).waitFor();
    check("the broker at a glance", (await page.locator("#rates dd").count()) > 8);
    await page.fill("#topic", "home/from-page");
    await page.fill("#payload", '{"temperature": 19.50}');
    await page.focus("#payload");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await messages.getByText('{"temperature": 19.50}').waitFor();
    check("published by keyboard, and shown to the last digit", true);
    await page.selectOption("#series", { index: 0 });
    await accessible(page, "light");
    if (shots) await page.screenshot({ path: `${shots}/page-light.png`, fullPage: true });
    await page.selectOption("#language", "pt");
    await page.getByRole("heading", { name: "Mensagens" }).waitFor();
    check("languages switch", (await page.locator("html").getAttribute("lang")) === "pt");
    await accessible(page, "portuguese");
    check("nothing leaves the origin", strange.length === 0, strange);
    check("no errors", errors.length === 0, errors);

    const dark = await visit(browser, "dark", "pt-PT");
    check("the language of the browser", (await dark.page.locator("html").getAttribute("lang")) === "pt");
    for (let n = 0; n < 40; n += 1) {
      await publish("casa/cozinha", { temperatura: 21 + Math.sin(n / 5), janela: n % 9 < 3 });
    }
    await dark.page.locator("#values th", { hasText: "casa/cozinha" }).waitFor();
    await dark.page.selectOption("#field", "temperatura");
    await dark.page.locator("#clients td").first().waitFor();
    await accessible(dark.page, "dark");
    if (shots) await dark.page.screenshot({ path: `${shots}/page-dark.png`, fullPage: true });

    const stranger = await (await browser.newContext({ locale: "en" })).newPage();
    await stranger.goto(`${origin}/`);
    await stranger.getByRole("heading", { name: "Log in" }).waitFor();
    check("who has no token is asked to log in", true);
    await accessible(stranger, "login");
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
