// Query a running service from JavaScript, with nothing but fetch (Node 18 or later).
//
//     node examples/query_service/query.mjs http://127.0.0.1:3000 photo.jpg
//
// A key is taken from ENTITYCLIP_KEY. From a web page, send requests through a server of your own: the service sends no
// CORS headers, and a key in a page is not secret.
import { readFile } from "node:fs/promises";

const [url, picture] = process.argv.slice(2);
const key = process.env.ENTITYCLIP_KEY;
const headers = key ? { Authorization: `Bearer ${key}` } : {};

async function post(path, body, type) {
  const response = await fetch(url + path, { method: "POST", body, headers: type ? { ...headers, ...type } : headers });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${path}: ${response.status}: ${answer.error}`);
  return answer;
}

// A picture goes as a form, a text as JSON.
const form = new FormData();
form.append("image", new Blob([await readFile(picture)]), "photo.jpg");
form.append("k", "3");
const { release, unknown, tags } = await post("/tag", form);
console.log(`release ${release}, ${unknown ? "unknown" : "known"}`);
for (const tag of tags) console.log(`${tag.entity}  ${tag.confidence.toFixed(2)}`);

const query = JSON.stringify({ text: tags[0].entity, k: 1, target: "entities" });
const { hits } = await post("/search", query, { "Content-Type": "application/json" });
console.log(`found by ${hits[0].why[0].by}: ${hits[0].entity}`);
