// A page that asks the gateway under the rules that browsers keep to: it reads an answer only where
// the gateway admits its origin, and asks for leave first where it sends JSON or a token.
// Source: https://fetch.spec.whatwg.org/#http-cors-protocol
// usage: node browser_page.mjs GATEWAY ORIGIN [TOKEN]; writes a status, or "blocked", for each request.
import http from "node:http";

const [gateway, origin, token] = process.argv.slice(2);

function send(method, path, headers, body) {
  return new Promise((resolve, reject) => {
    const options = { method, headers: { ...headers, origin } };
    const request = http.request(gateway + path, options, (response) => {
      response.resume();
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers }));
    });
    request.on("error", reject);
    request.end(body);
  });
}

const names = (response, header) => (response.headers[header] ?? "").toLowerCase().split(/\s*,\s*/);
const admitsOrigin = (response) => ["*", origin].includes(response.headers["access-control-allow-origin"]);

function admitsRequest(response, method, headers) {
  const methods = names(response, "access-control-allow-methods");
  const admitted = names(response, "access-control-allow-headers");
  const isSuccess = response.status >= 200 && response.status < 300;
  const isSimple = ["GET", "HEAD", "POST"].includes(method);
  return isSuccess && admitsOrigin(response) && (isSimple || methods.includes(method.toLowerCase())) &&
    Object.keys(headers).every((name) => admitted.includes(name));
}

async function ask(method, path, body) {
  const headers = {};
  if (body) headers["content-type"] = "application/json";
  if (token) headers["authorization"] = `Bearer ${token}`;
  if (Object.keys(headers).length || !["GET", "HEAD", "POST"].includes(method)) {
    const wanted = Object.keys(headers).sort().join(",");
    const leave = { "access-control-request-method": method, "access-control-request-headers": wanted };
    if (!admitsRequest(await send("OPTIONS", path, leave), method, headers)) return "blocked";
  }
  const response = await send(method, path, headers, body && JSON.stringify(body));
  return admitsOrigin(response) ? response.status : "blocked";
}

const messages = [{ role: "user", content: "Analyze KESTRO." }];
const seen = {
  "/api/tags": await ask("GET", "/api/tags"),
  "/api/chat": await ask("POST", "/api/chat", { model: "auto", stream: false, messages }),
  "/v1/chat/completions": await ask("POST", "/v1/chat/completions", { model: "auto", messages }),
  "/feedback": await ask("POST", "/feedback", { response_id: "none" }),
};
console.log(JSON.stringify(seen));
