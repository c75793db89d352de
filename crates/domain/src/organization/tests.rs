use super::*;
use crate::testing::given;

fn create() -> Command {
    Command::Create { name: "Harbor".to_owned() }
}

fn created() -> Event {
    Event::Created { name: "Harbor".to_owned() }
}

#[test]
fn an_organization_is_created_with_its_name() {
    given::<Organization>([]).when(&create()).then([created()]).is(&Organization::Live);
}

#[test]
fn an_organization_is_created_once() {
    given::<Organization>([created()]).when(&create()).then_err(OrganizationError::AlreadyCreated);
}
