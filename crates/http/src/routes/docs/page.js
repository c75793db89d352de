// Reads /openapi.json and shows it, with a form to try each operation out. No library, nothing from elsewhere.
"use strict";

let api;

/** An element with properties and children; text becomes text, never markup. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** What a reference stands for. */
function resolve(value) {
  if (!value || !value.$ref) return value;
  return value.$ref.slice(2).split("/").reduce((place, step) => place[step], api);
}

/** Text with its `code` set off. */
function prose(text) {
  return (text || "").split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

/** A shape in one line. */
function shape(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.oneOf || schema.anyOf) return (schema.oneOf || schema.anyOf).map(shape).join(" | ");
  if (schema.type === "array") return `${shape(schema.items)}[]`;
  const name = [].concat(schema.type || "any").join(" | ");
  return schema.format ? `${name} (${schema.format})` : name;
}

/** An example of a body: its own, or that of what it refers to. */
function sample(content) {
  const media = content["application/json"];
  const schema = resolve(media.schema);
  return media.example ?? (schema.examples && schema.examples[0]) ?? {};
}

function table(heads, rows) {
  const row = (kind, cells) => element("tr", {}, ...cells.map((cell) => element(kind, {}, ...[].concat(cell))));
  return element("table", {}, row("th", heads), ...rows.map((cells) => row("td", cells)));
}

/** The members of a body, if it is one object. */
function members(schema) {
  const target = resolve(schema);
  if (!target || !target.properties) return null;
  const rows = Object.entries(target.properties).map(([name, member]) => [
    element("code", {}, name),
    shape(member),
    (target.required || []).includes(name) ? "always" : "",
    prose(member.description),
  ]);
  return table(["Member", "Type", "", ""], rows);
}

/** Inputs for the parameters, by name; the page sends what is filled in. */
function inputs(parameters) {
  return parameters.map((parameter) => {
    const input = element("input", { name: parameter.name, required: parameter.required, spellcheck: false });
    input.dataset.in = parameter.in;
    const kind = `${parameter.in}, ${shape(parameter.schema)}${parameter.required ? ", needed" : ""}`;
    return element("label", {}, element("code", {}, parameter.name), ` (${kind}) `, ...prose(parameter.description), input);
  });
}

/** What the form comes to. */
function request(method, path, form) {
  const query = new URLSearchParams();
  const headers = {};
  let target = path;
  for (const input of form.querySelectorAll("input")) {
    if (!input.value) continue;
    if (input.dataset.in === "path") target = target.replace(`{${input.name}}`, encodeURIComponent(input.value));
    if (input.dataset.in === "query") query.append(input.name, input.value);
    if (input.dataset.in === "header") headers[input.name] = input.value;
  }
  const key = document.getElementById("key").value.trim();
  if (key) headers["X-API-Key"] = key;
  const text = form.querySelector("textarea");
  if (text) headers["Content-Type"] = "application/json";
  const search = query.toString();
  return [search ? `${target}?${search}` : target, { method: method.toUpperCase(), headers, body: text ? text.value : undefined }];
}

function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function send(method, path, form, output) {
  output.textContent = "…";
  try {
    const response = await fetch(...request(method, path, form));
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const body = readable(await response.text());
    output.textContent = `${response.status} ${response.statusText}\n${headers}\n\n${body}`;
    output.dataset.status = response.status;
  } catch (failure) {
    output.textContent = String(failure);
  }
}

function answers(responses) {
  const rows = Object.entries(responses).map(([status, named]) => {
    const response = resolve(named);
    const kinds = Object.entries(response.content || {}).map(([type, media]) => `${type}: ${shape(media.schema)}`);
    return [status, prose(response.description), kinds.join(", ")];
  });
  return table(["Status", "", "Body"], rows);
}

function operation(path, method, described) {
  const parameters = (described.parameters || []).map(resolve);
  const body = described.requestBody && described.requestBody.content;
  const output = element("pre", { className: "answer" });
  const form = element("form", {}, ...inputs(parameters));
  if (body) {
    const text = element("textarea", { rows: 6, spellcheck: false, value: JSON.stringify(sample(body), null, 2) });
    form.append(element("label", {}, "Body", text));
  }
  form.append(element("button", { type: "submit" }, "Send"), output);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(method, path, form, output);
  });
  const section = element(
    "details",
    { className: "operation", id: described.operationId },
    element("summary", {}, element("span", { className: "method" }, method), element("code", {}, path), ` ${described.summary}`),
    element("p", {}, ...prose(described.description)),
    body ? members(body["application/json"].schema) : null,
    form,
    answers(described.responses),
  );
  return section;
}

function show() {
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  document.getElementById("about").textContent = api.info.description;
  const operations = Object.entries(api.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, described]) => ({ path, method, described })));
  const groups = api.tags.map((tag) => element(
    "section",
    {},
    element("h2", {}, tag.name),
    element("p", { className: "note" }, tag.description),
    ...operations
      .filter(({ described }) => described.tags.includes(tag.name))
      .map(({ path, method, described }) => operation(path, method, described)),
  ));
  const main = document.getElementById("operations");
  main.replaceChildren(...groups);
  main.setAttribute("aria-busy", "false");
}

addEventListener("DOMContentLoaded", async () => {
  try {
    api = await (await fetch("/openapi.json")).json();
    show();
  } catch (failure) {
    document.getElementById("operations").textContent = `The document could not be read: ${failure}`;
  }
});
