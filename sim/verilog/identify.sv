// A root complex of a few tasks: finds the card's functions, starts the drive of PF1, asks it who it is.
//
//     offloadcard verilog --preset tiny -o build/verilog/card.sv
//     iverilog -g2012 -o build/verilog/identify build/verilog/card.sv sim/verilog/identify.sv
//     build/verilog/identify
//
// Shows the card's border in SystemVerilog alone; docs/verilog.md gives its rules. For a data path
// of 64 bits (presets tiny and ecp5).

`timescale 1ns / 1ps

module identify;
    localparam [31:0] REGISTERS = 32'he000_0000;   // where BAR 0 of PF1 goes
    localparam [31:0] ASQ = 32'h1000, ACQ = 32'h2000, PAGE = 32'h4000;

    reg clk = 0, rst = 1;
    always #2 clk = ~clk;                          // 250 MHz

    // --- The card: what the test does not need is granted or still. ---

    reg          rq_valid = 0, cp_valid = 0, cp_first = 0, cp_last = 0;
    reg  [127:0] rq_header = 0, cp_header = 0;
    reg  [63:0]  rq_data = 0, cp_data = 0;
    wire         rd_valid, wr_valid, wr_first, cpl_valid;
    wire [127:0] rd_header, wr_header, cpl_header;
    wire [63:0]  wr_data, cpl_data;

    card card (
        .clk(clk), .rst(rst), .link_up(~rst),
        .rx_requests_valid(rq_valid), .rx_requests_header(rq_header), .rx_requests_data(rq_data),
        .rx_requests_first(1'b1), .rx_requests_last(1'b1), .rx_requests_error(1'b0),
        .rx_completions_valid(cp_valid), .rx_completions_header(cp_header),
        .rx_completions_data(cp_data), .rx_completions_first(cp_first),
        .rx_completions_last(cp_last), .rx_completions_error(1'b0),
        .tx_reads_valid(rd_valid), .tx_reads_header(rd_header), .tx_reads_ready(1'b1),
        .tx_writes_valid(wr_valid), .tx_writes_header(wr_header), .tx_writes_data(wr_data),
        .tx_writes_first(wr_first), .tx_writes_ready(1'b1),
        .tx_completions_valid(cpl_valid), .tx_completions_header(cpl_header),
        .tx_completions_data(cpl_data), .tx_completions_ready(1'b1),
        .tx_credit_limit_ph_infinite(1'b1), .tx_credit_limit_pd_infinite(1'b1),
        .tx_credit_limit_nph_infinite(1'b1), .tx_credit_limit_npd_infinite(1'b1),
        .tx_credit_limit_cplh_infinite(1'b1), .tx_credit_limit_cpld_infinite(1'b1),
        .tx_credit_limit_ph_count(8'h0), .tx_credit_limit_pd_count(12'h0),
        .tx_credit_limit_nph_count(8'h0), .tx_credit_limit_npd_count(12'h0),
        .tx_credit_limit_cplh_count(8'h0), .tx_credit_limit_cpld_count(12'h0),
        .wire_rx_valid(1'b0), .wire_tx_ready(1'b1), .inject_valid(1'b0), .exceptions_ready(1'b1),
        .dram_reads_ready(1'b1), .dram_beats_valid(1'b0), .dram_writes_ready(1'b1),
        .dram_answers_valid(1'b0), .management_requests_valid(1'b0));

    // --- The host's memory: writes land, reads are answered one after another. ---

    reg [7:0] memory [0:65535];
    integer   octet;
    initial for (octet = 0; octet < 65536; octet = octet + 1) memory[octet] = 0;

    // Where a request begins: its last header DW has the low address, in 3 and in 4 DWs.
    function [15:0] address_of(input [127:0] header);
        address_of = {header[29] ? header[111:98] : header[79:66], 2'b00};
    endfunction

    reg [15:0] at = 0, from;
    integer    lane;
    always @(posedge clk) if (wr_valid) begin
        from = wr_first ? address_of(wr_header) : at;
        // Every write of this test is of whole DWs.
        for (lane = 0; lane < 8; lane = lane + 1)
            if (!(wr_first && wr_header[9:0] == 1 && lane >= 4))
                memory[from + lane] = wr_data[8 * lane +: 8];
        at <= from + 8;
    end

    reg [127:0] asked [0:15];
    reg [3:0]   put = 0, get = 0;
    always @(posedge clk) if (rd_valid) begin
        if (rd_header[9:0] > 32) $fatal(1, "a read of more than 128 octets");
        asked[put] <= rd_header;
        put <= put + 1;
    end

    reg [127:0] read;
    reg [15:0]  start;
    integer     beat, beats;
    always begin
        wait (put != get);
        read  = asked[get];
        start = address_of(read);
        beats = (read[9:0] + 1) / 2;
        for (beat = 0; beat < beats; beat = beat + 1) begin
            @(posedge clk);
            cp_valid <= 1;
            cp_first <= beat == 0;
            cp_last  <= beat == beats - 1;
            // CplD: length; completer, status SC, byte count; requester, tag, lower address.
            cp_header <= {32'h0, read[63:48], read[47:40], 1'b0, start[6:0],
                          16'h0000, 4'h0, read[9:0], 2'b00, 22'h128000, read[9:0]};
            for (lane = 0; lane < 8; lane = lane + 1)
                cp_data[8 * lane +: 8] <= memory[start + 8 * beat + lane];
        end
        @(posedge clk);
        cp_valid <= 0;
        get = get + 1;
    end

    // --- Requests of the root complex. ---

    reg [7:0] tag = 0;

    task send(input [7:0] kind, input [31:0] dw2, input [31:0] value);
        begin
            tag = tag + 1;
            @(posedge clk);
            rq_valid  <= 1;
            rq_header <= {32'h0, dw2, 16'h0000, tag, 8'h0f, kind, 24'h000001};
            rq_data   <= value;
            @(posedge clk);
            rq_valid  <= 0;
        end
    endtask

    // What the card answers to a non-posted request; ends the test if it is not success.
    task ask(input [7:0] kind, input [31:0] dw2, input [31:0] value, output [31:0] answer);
        begin
            send(kind, dw2, value);
            while (!cpl_valid) @(posedge clk);
            if (cpl_header[79:72] !== tag || cpl_header[47:45] !== 0)
                $fatal(1, "completion %h for tag %h", cpl_header, tag);
            answer = cpl_data[31:0];
            @(posedge clk);
        end
    endtask

    function [31:0] config_dw2(input [7:0] number, input [11:0] register);
        config_dw2 = {8'h01, number, 4'h0, register};      // bus 1, captured by the card
    endfunction

    reg [31:0] nothing, found;

    task config_read(input [7:0] number, input [11:0] register, output [31:0] value);
        ask(8'h04, config_dw2(number, register), 0, value);
    endtask

    task config_write(input [7:0] number, input [11:0] register, input [31:0] value);
        ask(8'h44, config_dw2(number, register), value, nothing);
    endtask

    task register_read(input [15:0] offset, output [31:0] value);
        ask(8'h00, REGISTERS + offset, 0, value);
    endtask

    task register_write(input [15:0] offset, input [31:0] value);
        send(8'h40, REGISTERS + offset, value);
    endtask

    // --- The story. ---

    integer   n;
    reg [7:0] number;
    initial begin
        repeat (20) @(posedge clk);
        rst <= 0;
        repeat (300) @(posedge clk);               // memories clear themselves

        for (number = 0; number < 2; number = number + 1) begin
            config_read(number, 12'h000, found);
            $write("01:00.%0d vendor %h device %h", number, found[15:0], found[31:16]);
            config_read(number, 12'h008, found);
            $display(" class %h", found[31:8]);
        end

        config_write(1, 12'h010, 32'hffff_ffff);
        config_read(1, 12'h010, found);
        $display("BAR 0 of 01:00.1: %0d octets", ~{found[31:4], 4'h0} + 1);
        config_write(1, 12'h010, REGISTERS);
        config_write(1, 12'h014, 0);
        config_write(1, 12'h004, 32'h6);           // memory space, bus master

        register_read(16'h08, found);
        $display("NVMe %0d.%0d", found[31:16], found[15:8]);
        register_write(16'h24, 32'h0003_0003);     // AQA: four entries each
        register_write(16'h28, ASQ);
        register_write(16'h30, ACQ);
        register_write(16'h14, 32'h0046_0001);     // CC: entries of 64 and 16 octets, enable
        found = 0;
        while (!found[0]) register_read(16'h1c, found);
        $display("ready");

        memory[ASQ]      = 8'h06;                  // Identify, command 0x2a
        memory[ASQ + 2]  = 8'h2a;
        memory[ASQ + 25] = PAGE >> 8;              // PRP1
        memory[ASQ + 40] = 8'h01;                  // CNS: the controller
        register_write(16'h1000, 1);
        while (!memory[ACQ + 14][0]) @(posedge clk);
        if (memory[ACQ + 12] !== 8'h2a || memory[ACQ + 15] !== 0 || memory[ACQ + 14] !== 1)
            $fatal(1, "the completion entry is wrong");

        $write("model ");
        for (n = 24; n < 64; n = n + 1)
            if (memory[PAGE + n] != 8'h20) $write("%c", memory[PAGE + n]);
        $write(", serial ");
        for (n = 4; n < 24; n = n + 1)
            if (memory[PAGE + n] != 8'h20) $write("%c", memory[PAGE + n]);
        $display("");
        $finish;
    end

    initial begin
        repeat (20000) @(posedge clk);
        $fatal(1, "nothing more after 20,000 cycles");
    end
endmodule
