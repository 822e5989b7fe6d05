//! An assembler for eBPF: the dozen instructions a steering program is made of, and labels.
//!
//! The encoding is that of `struct bpf_insn` in `include/uapi/linux/bpf.h`, described in the
//! kernel's `Documentation/bpf/standardization/instruction-set.rst`.

use std::os::fd::{AsRawFd, BorrowedFd};

/// One instruction as the kernel reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Instruction(pub [u8; 8]);

/// A register. Calls take their arguments in `R1` to `R5`, answer in `R0` and keep `R6` to `R9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    /// The end of the stack, 512 bytes that are addressed downwards from it.
    Frame,
}

/// How much a load or store moves: `BPF_B`, `BPF_H`, `BPF_W`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Size {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
}

/// When a jump is taken, comparing a register with a constant, unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum If {
    Equal = 0x15,
    NotEqual = 0x55,
    Above = 0x25,
    Below = 0xa5,
}

/// Functions of the kernel, by their numbers in `enum bpf_func_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Helper {
    /// `(map, key) -> value or null`
    MapLookup = 1,
    /// `(context, offset, to, length) -> 0 or an error`, from where the context's data begins.
    LoadBytes = 26,
    /// `(context, offset, to, length, from) -> 0 or an error`
    LoadBytesRelative = 68,
    /// `(context, sockets, index, flags) -> 0 or an error`
    SelectReuseport = 82,
}

/// A place in the program that jumps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program under construction.
#[derive(Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    /// Where each label stands, once it does.
    places: Vec<Option<usize>>,
    /// Which instruction jumps to which label.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// `to = from`
    pub fn copy(&mut self, to: Reg, from: Reg) {
        self.push(0xbf, to, from, 0, 0);
    }

    /// `to = value`
    pub fn set(&mut self, to: Reg, value: i32) {
        self.push(0xb7, to, Reg::R0, 0, value);
    }

    /// `to = Frame + offset`: the address of a place on the stack.
    pub fn set_address(&mut self, to: Reg, offset: i16) {
        self.copy(to, Reg::Frame);
        self.add(to, i32::from(offset));
    }

    /// `to = map`; the kernel turns the descriptor into a pointer when the program is loaded.
    pub fn set_map(&mut self, to: Reg, map: BorrowedFd<'_>) {
        // BPF_PSEUDO_MAP_FD stands where the source register is otherwise; a 64-bit constant takes
        // two slots.
        const MAP_DESCRIPTOR: Reg = Reg::R1;
        self.push(0x18, to, MAP_DESCRIPTOR, 0, map.as_raw_fd());
        self.push(0x00, Reg::R0, Reg::R0, 0, 0);
    }

    /// `to += value`
    pub fn add(&mut self, to: Reg, value: i32) {
        self.push(0x07, to, Reg::R0, 0, value);
    }

    /// `to += from`
    pub fn add_reg(&mut self, to: Reg, from: Reg) {
        self.push(0x0f, to, from, 0, 0);
    }

    /// `to &= value`
    pub fn and(&mut self, to: Reg, value: i32) {
        self.push(0x57, to, Reg::R0, 0, value);
    }

    /// `to <<= bits`
    pub fn shift_left(&mut self, to: Reg, bits: i32) {
        self.push(0x67, to, Reg::R0, 0, bits);
    }

    /// `to` holds 16 bits in network order; afterwards it holds the number they mean.
    pub fn network_to_host(&mut self, to: Reg) {
        self.push(0xdc, to, Reg::R0, 0, 16);
    }

    /// `to = *(base + offset)`
    pub fn load(&mut self, size: Size, to: Reg, base: Reg, offset: i16) {
        self.push(0x61 | size as u8, to, base, offset, 0);
    }

    /// `*(base + offset) = from`
    pub fn store(&mut self, size: Size, base: Reg, offset: i16, from: Reg) {
        self.push(0x63 | size as u8, base, from, offset, 0);
    }

    /// `*(base + offset) = value`
    pub fn store_value(&mut self, size: Size, base: Reg, offset: i16, value: i32) {
        self.push(0x62 | size as u8, base, Reg::R0, offset, value);
    }

    /// `*(u64 *)base += from`, in one piece whoever else adds.
    pub fn add_atomically(&mut self, base: Reg, from: Reg) {
        self.push(0xdb, base, from, 0, 0);
    }

    /// Calls the kernel.
    pub fn call(&mut self, helper: Helper) {
        self.push(0x85, Reg::R0, Reg::R0, 0, helper as i32);
    }

    /// Ends the program with what `R0` holds.
    pub fn exit(&mut self) {
        self.push(0x95, Reg::R0, Reg::R0, 0, 0);
    }

    /// A label that stands nowhere yet.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// Puts `label` before the next instruction.
    pub fn place(&mut self, label: Label) {
        let place = &mut self.places[label.0];
        assert!(place.is_none(), "a label stands in one place");
        *place = Some(self.code.len());
    }

    /// Goes on at `label`.
    pub fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(0x05, Reg::R0, Reg::R0, 0, 0);
    }

    /// Goes on at `label` if `reg` compares so with `value`.
    pub fn jump_if(&mut self, condition: If, reg: Reg, value: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.push(condition as u8, reg, Reg::R0, 0, value);
    }

    /// The program, with jumps resolved.
    ///
    /// # Panics
    ///
    /// When a label was never placed, or stands farther off than a jump reaches.
    pub fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let to = self.places[label.0].expect("every label that is jumped to has a place");
            // A jump counts from the instruction after it.
            let distance = to as isize - (at as isize + 1);
            let distance = i16::try_from(distance).expect("the program is short");
            self.code[at].0[2..4].copy_from_slice(&distance.to_ne_bytes());
        }
        self.code
    }

    fn push(&mut self, opcode: u8, to: Reg, from: Reg, offset: i16, value: i32) {
        // Two bit fields of four in one byte: the first is the lower on little-endian machines.
        let registers = if cfg!(target_endian = "little") {
            (from as u8) << 4 | to as u8
        } else {
            (to as u8) << 4 | from as u8
        };
        let mut bytes = [opcode, registers, 0, 0, 0, 0, 0, 0];
        bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
        bytes[4..].copy_from_slice(&value.to_ne_bytes());
        self.code.push(Instruction(bytes));
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_laid_out_as_the_kernel_reads_them() {
        let mut asm = Assembler::default();
        asm.load(Size::Byte, Reg::R5, Reg::R2, 8);
        asm.store(Size::Word, Reg::Frame, -4, Reg::R5);
        asm.and(Reg::R5, 1);
        asm.call(Helper::SelectReuseport);
        let expected = [
            [0x71, 0x25, 8, 0, 0, 0, 0, 0],
            [0x63, 0x5a, 0xfc, 0xff, 0, 0, 0, 0],
            [0x57, 0x05, 0, 0, 1, 0, 0, 0],
            [0x85, 0x00, 0, 0, 82, 0, 0, 0],
        ];
        assert_eq!(asm.finish(), expected.map(Instruction));
    }

    #[test]
    fn jumps_lead_to_their_labels_in_both_directions() {
        let mut asm = Assembler::default();
        let (back, ahead) = (asm.label(), asm.label());
        asm.place(back);
        asm.jump_if(If::Equal, Reg::R1, 7, ahead);
        asm.jump(back);
        asm.place(ahead);
        asm.exit();
        let code = asm.finish();
        assert_eq!(code[0].0, [0x15, 1, 1, 0, 7, 0, 0, 0]);
        assert_eq!(code[1].0, [0x05, 0, 0xfe, 0xff, 0, 0, 0, 0]);
    }
}
