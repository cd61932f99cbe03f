//! What the usual waits wait for, and which states end them in failure. Packer waits for ever in most of the latter.

use super::types::{Image, ImageState, LinkState, Snapshot, SnapshotState, Vm, VmState, Volume, VolumeState};
use super::waiters::Progress;

/// The VM runs. Any state but `pending` that does not lead there is a failure, told with the VM's `StateReason`.
pub fn vm_running(vm: &Vm) -> Progress<Vm> {
    match &vm.state {
        VmState::Running => Progress::Done(vm.clone()),
        VmState::Stopping
        | VmState::Stopped
        | VmState::ShuttingDown
        | VmState::Terminated
        | VmState::Quarantine => Progress::Failed(vm_now(vm)),
        VmState::Pending | VmState::Other(_) => Progress::Pending(vm_now(vm)),
    }
}

/// The VM is stopped, after StopVms or because the guest shut down.
pub fn vm_stopped(vm: &Vm) -> Progress<Vm> {
    match &vm.state {
        VmState::Stopped => Progress::Done(vm.clone()),
        VmState::ShuttingDown | VmState::Terminated | VmState::Quarantine => Progress::Failed(vm_now(vm)),
        VmState::Pending | VmState::Running | VmState::Stopping | VmState::Other(_) => {
            Progress::Pending(vm_now(vm))
        }
    }
}

/// The VM is terminated, after DeleteVms. (`Waits::wait_vm_terminated` also takes "no longer listed".)
pub fn vm_terminated(vm: &Vm) -> Progress<()> {
    match &vm.state {
        VmState::Terminated => Progress::Done(()),
        VmState::Quarantine => Progress::Failed(vm_now(vm)),
        _ => Progress::Pending(vm_now(vm)),
    }
}

/// The image can be launched; `failed` is told with its `StateComment`.
pub fn image_available(image: &Image) -> Progress<Image> {
    match &image.state {
        ImageState::Available => Progress::Done(image.clone()),
        ImageState::Failed => {
            let comment = image.state_comment.as_ref();
            let code = comment.and_then(|comment| comment.state_code.as_deref());
            let message = comment.and_then(|comment| comment.state_message.as_deref());
            Progress::Failed(now(&image.image_id, &image.state, [code, message]))
        }
        ImageState::Pending | ImageState::Other(_) => {
            Progress::Pending(now(&image.image_id, &image.state, []))
        }
    }
}

/// The snapshot is complete. Words that are not known count as "not yet", since OAPI's own examples show such.
pub fn snapshot_completed(snapshot: &Snapshot) -> Progress<Snapshot> {
    let progress = snapshot.progress.map(|percent| format!("{percent} %"));
    let looks_like = now(&snapshot.snapshot_id, &snapshot.state, [progress.as_deref()]);
    match &snapshot.state {
        SnapshotState::Completed => Progress::Done(snapshot.clone()),
        SnapshotState::Error | SnapshotState::Deleting => Progress::Failed(looks_like),
        _ => Progress::Pending(looks_like),
    }
}

/// The volume is in this state, such as `available` after CreateVolume or UnlinkVolume.
pub fn volume_state(wanted: VolumeState) -> impl Fn(&Volume) -> Progress<Volume> + Send + Sync {
    move |volume| {
        if volume.state == wanted {
            return Progress::Done(volume.clone());
        }
        let looks_like = now(&volume.volume_id, &volume.state, []);
        match &volume.state {
            VolumeState::Error | VolumeState::Deleting => Progress::Failed(looks_like),
            _ => Progress::Pending(looks_like),
        }
    }
}

/// The volume is attached to this VM, after LinkVolume.
pub fn volume_attached_to(vm_id: String) -> impl Fn(&Volume) -> Progress<Volume> + Send + Sync {
    move |volume| {
        let link = volume.link_to(&vm_id).map(|link| &link.state);
        if link == Some(&LinkState::Attached) {
            return Progress::Done(volume.clone());
        }
        let looks_like = now(&volume.volume_id, &volume.state, [link.map(LinkState::as_str)]);
        match &volume.state {
            VolumeState::Error | VolumeState::Deleting => Progress::Failed(looks_like),
            _ => Progress::Pending(looks_like),
        }
    }
}

fn vm_now(vm: &Vm) -> String {
    now(&vm.vm_id, &vm.state, [vm.state_reason.as_deref()])
}

/// `i-12345678 is stopped (Client.ApiGracefulShutdown)`
fn now<const N: usize>(id: &str, state: &dyn std::fmt::Display, remarks: [Option<&str>; N]) -> String {
    let remarks: Vec<_> = remarks.into_iter().flatten().filter(|remark| !remark.is_empty()).collect();
    if remarks.is_empty() {
        format!("{id} is {state}")
    } else {
        format!("{id} is {state} ({})", remarks.join(": "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oapi::types::{LinkedVolume, StateComment};

    fn vm(state: VmState) -> Vm {
        Vm { vm_id: "i-1".to_owned(), state, state_reason: Some("why".to_owned()), ..Vm::default() }
    }

    #[test]
    fn a_vm_that_stops_or_ends_will_not_run() {
        for state in ["stopping", "stopped", "shutting-down", "terminated", "quarantine"] {
            let progress = vm_running(&vm(state.into()));
            assert_eq!(progress, Progress::Failed(format!("i-1 is {state} (why)")));
        }
        assert!(matches!(vm_running(&vm(VmState::Pending)), Progress::Pending(_)));
        assert!(matches!(vm_running(&vm("booting".into())), Progress::Pending(_)));
        assert!(matches!(vm_running(&vm(VmState::Running)), Progress::Done(_)));
    }

    #[test]
    fn a_vm_that_is_deleted_will_not_be_stopped() {
        assert!(matches!(vm_stopped(&vm(VmState::Running)), Progress::Pending(_)));
        assert!(matches!(vm_stopped(&vm(VmState::Stopped)), Progress::Done(_)));
        assert!(matches!(vm_stopped(&vm(VmState::ShuttingDown)), Progress::Failed(_)));
        assert_eq!(vm_terminated(&vm(VmState::Terminated)), Progress::Done(()));
    }

    #[test]
    fn a_failed_image_says_why() {
        let comment =
            StateComment { state_code: Some("7".to_owned()), state_message: Some("no disk".to_owned()) };
        let image = Image {
            image_id: "ami-1".to_owned(),
            state: ImageState::Failed,
            state_comment: Some(comment),
            ..Image::default()
        };
        assert_eq!(image_available(&image), Progress::Failed("ami-1 is failed (7: no disk)".to_owned()));
    }

    #[test]
    fn a_snapshot_is_done_only_when_completed() {
        let snapshot =
            |state: &str| Snapshot { state: state.into(), progress: Some(100), ..Snapshot::default() };
        for state in ["in-queue", "pending", "pending/queued", "importing", "a-new-word", ""] {
            assert!(matches!(snapshot_completed(&snapshot(state)), Progress::Pending(_)), "{state}");
        }
        assert!(matches!(snapshot_completed(&snapshot("completed")), Progress::Done(_)));
        assert!(matches!(snapshot_completed(&snapshot("error")), Progress::Failed(_)));
    }

    #[test]
    fn a_volume_is_attached_when_its_link_says_so() {
        let volume = |state: &str| Volume {
            state: VolumeState::InUse,
            linked_volumes: vec![LinkedVolume {
                vm_id: Some("i-1".to_owned()),
                state: state.into(),
                ..LinkedVolume::default()
            }],
            ..Volume::default()
        };
        let attached = volume_attached_to("i-1".to_owned());
        assert!(matches!(attached(&volume("attaching")), Progress::Pending(_)));
        assert!(matches!(attached(&volume("attached")), Progress::Done(_)));
        assert!(matches!(volume_attached_to("i-2".to_owned())(&volume("attached")), Progress::Pending(_)));
        let error = Volume { state: VolumeState::Error, ..Volume::default() };
        assert!(matches!(volume_state(VolumeState::Available)(&error), Progress::Failed(_)));
        assert!(matches!(volume_state(VolumeState::Error)(&error), Progress::Done(_)));
    }
}
