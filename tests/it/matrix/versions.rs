//! The tag of a resource is its version: its writes take it with `If-Match` until the resource changes, and no two bodies have it.

use reqwest::Method;
use serde_json::json;

use super::estate::Target;
use super::walk::{self, Operation, Request, next};
use crate::harness::{Answer, Caller, World, read_while, text};

/// How often a resource is changed while others read it.
const CHANGES: u32 = 60;

/// A resource that is read, changed and perhaps ended under one path, with conditions.
struct Resource {
    read: Operation,
    change: Operation,
    end: Option<Operation>,
}

/// All resources whose tag is promised to their writes. The tag of a list is for `If-None-Match` alone, and a list is not changed.
fn resources(world: &World) -> Vec<Resource> {
    let reads = walk::reads(world).into_iter().filter(|read| read.takes("If-None-Match"));
    let write = |method: Method, path: &str| {
        let mut writes = walk::writes(world).into_iter();
        writes.find(|write| write.method == method && write.path == path && write.takes("If-Match"))
    };
    let resources: Vec<Resource> = reads
        .filter_map(|read| {
            let change = write(Method::PATCH, &read.path)?;
            Some(Resource { end: write(Method::DELETE, &read.path), change, read })
        })
        .collect();
    assert!(resources.len() >= 6, "only {} resources are changed", resources.len());
    resources
}

/// An organization with the resource, its admin, and the agent that it belongs to.
struct Scene {
    target: Target,
    admin: Caller,
    itself: Caller,
}

impl Scene {
    fn new(world: &World) -> Self {
        let admin = world.new_admin();
        let viewer = text(&admin.create(&format!("viewer-{}", next()))["id"]);
        let target = Target::new(&admin, &viewer, |_| false);
        let itself = world.holder_of(&target.key);
        Self { target, admin, itself }
    }

    fn request(&self, operation: &Operation) -> Request {
        operation.request(&self.target.names, false)
    }

    /// A request that really changes the resource: no two have the same number.
    fn change(&self, operation: &Operation) -> Request {
        let body = match operation.id.as_str() {
            "update_identity" => json!({ "description": format!("text {}", next()) }),
            "update_mailbox" => json!({ "signature_text": format!("text {}", next()) }),
            "update_phone_number" => {
                let url = format!("https://desk.example/{}", next());
                json!({ "incoming_call_action": "webhook", "incoming_call_webhook_url": url })
            }
            "update_secret" => json!({ "name": format!("name {}", next()) }),
            "update_tunnel" => json!({ "metadata": { "number": next() } }),
            "update_webhook_subscription" => json!({ "url": format!("https://desk.example/{}", next()) }),
            other => panic!("{other}: how is it changed?"),
        };
        self.request(operation).with_body(body)
    }
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].clone()
}

fn with_tag(request: &Request, caller: &Caller, tag: &str) -> Answer {
    request.of(caller).header("If-Match", tag).send()
}

/// Changes a resource with the tag that was read, and then no more with it. An agent may change some resources only.
fn change_once(scene: &Scene, resource: &Resource, caller: &Caller) {
    let read = scene.request(&resource.read);
    let seen = tag(&read.send(caller).must_be(200));
    let changed = with_tag(&scene.change(&resource.change), caller, &seen);
    if changed.status == 403 {
        assert!(std::ptr::eq(caller, &raw const scene.itself), "{changed}");
        return;
    }
    let changed = changed.must_be(200);
    let present = read.send(caller);
    assert_eq!(changed.version(), present.version(), "{changed}");
    assert_ne!(tag(&present), seen, "{changed}");
    for write in
        [scene.change(&resource.change)].into_iter().chain(resource.end.iter().map(|end| scene.request(end)))
    {
        let refused = with_tag(&write, &scene.admin, &seen).must_be(412);
        assert_eq!(refused.version(), present.version(), "{refused}");
    }
    with_tag(&scene.change(&resource.change), caller, &tag(&changed)).must_be(200);
}

#[test]
fn the_tag_of_a_resource_is_taken_by_its_writes_until_it_changes() {
    let world = World::new();
    for resource in &resources(&world) {
        let scene = Scene::new(&world);
        for caller in [&scene.admin, &scene.itself] {
            change_once(&scene, resource, caller);
        }
        if let Some(end) = &resource.end {
            let seen = tag(&scene.request(&resource.read).send(&scene.admin));
            with_tag(&scene.request(end), &scene.admin, &seen).must_be(204);
        }
    }
}

/// The harness compares each answer with all earlier ones of the same URL that have the same tag.
#[test]
fn a_tag_stands_for_one_body_while_others_write() {
    let world = World::new();
    for resource in &resources(&world) {
        let scene = Scene::new(&world);
        let read = scene.request(&resource.read);
        let readers = [&scene.admin, &scene.admin, &scene.itself];
        let get = |reader: &Caller| drop(read.send(reader).must_be(200));
        read_while(&readers, get, || {
            for _ in 0..CHANGES {
                scene.change(&resource.change).send(&scene.admin).must_be(200);
                get(&scene.admin);
            }
        });
    }
}
